// A model of several files is opened as a folder, but the store holds blobs: a view is a folder of symbolic links from
// the files' names to their blobs, called after what it shows, so that models of the same files share one.
#pragma once

#include <filesystem>

#include "base/result.h"
#include "store/blobs.h"
#include "store/manifest.h"

namespace carat {

// What ModelFile::open takes: the blob itself, the view folder, or the first file of a split GGUF in it.
std::filesystem::path model_path(const std::filesystem::path& home, const Blobs& blobs, const Manifest& manifest);

// The view folder's name under home/views; empty if the model is one file and needs none.
std::string view_name(const Manifest& manifest);

// Makes the view, or sets it right: every link leads to the blob that the manifest names, and nothing else lies there.
// Call under the blobs folder's lock, or while the blobs are held. Errors: kIo, kCorruptFile (a file that is not ours).
Status make_view(const std::filesystem::path& home, const Blobs& blobs, const Manifest& manifest);

}  // namespace carat
