// SHA-256 (FIPS 180-4), so that a bundle can be checked without a library beside the runtime.
#ifndef EDGEPRUNE_SHA256_HPP
#define EDGEPRUNE_SHA256_HPP

#include <cstddef>
#include <cstdint>
#include <string>

namespace edgeprune {

// The digest in lower-case hex.
std::string sha256(const std::uint8_t* data, std::size_t size);

}  // namespace edgeprune

#endif
