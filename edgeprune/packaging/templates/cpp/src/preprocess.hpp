// From an image to the network's input.
#ifndef EDGEPRUNE_PREPROCESS_HPP
#define EDGEPRUNE_PREPROCESS_HPP

#include "edgeprune/edgeprune.hpp"

namespace edgeprune {

// The input tensor [channels, crop, crop] into `out`.
// Throws Error for an image without pixels, or a network that takes none.
void preprocess(const Image& image, const Preprocessing& wanted, float* out);

}  // namespace edgeprune

#endif
