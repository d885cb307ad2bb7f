// The sixteen values of the IQ4 formats (ggml's kvalues_iq4nl), plus 128 so that they are unsigned.
alignas(16) static constexpr uint8_t kIq4Table[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                                      129, 141, 153, 166, 181, 197, 217, 241};
