// How much the kernels for AVX-512 take together, with AMX's tiles or without.

constexpr int kMatvecRows = 24;   // rows of activations that decoding multiplies as it unpacks
constexpr int kMatvecTile = 4;    // as many at a time
constexpr int kRowChains = 4;     // of additions, side by side, where there is one row and one panel
constexpr int kGemmRows = 8;      // rows of activations that a prefill tile keeps in registers
constexpr int kGemmPanels = 2;    // panels that such a tile takes together
constexpr int kScoreChains = 2;   // of a head, side by side, when four rows read a key
constexpr int kValueVectors = 2;  // of sixteen columns, side by side, when keys are weighed
constexpr int kFloatPanels = 4;   // of a tile of floats in registers
constexpr int kFloatRows = 6;     // its rows
constexpr int kNarrowRows = 12;   // those of a tile one panel wide
