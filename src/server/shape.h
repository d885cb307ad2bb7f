// What an answer is to look like, as the APIs ask for it. The model that answers compiles it: ServedModel::begin.
#pragma once

#include "chat/shape.h"

namespace carat::server {

using chat::any_json_object;
using chat::Shape;

}  // namespace carat::server
