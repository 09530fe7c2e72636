// The folder that edgeprune writes, read and checked; nothing of it reaches a runtime before its sha256 was compared.
#ifndef EDGEPRUNE_BUNDLE_HPP
#define EDGEPRUNE_BUNDLE_HPP

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "edgeprune/edgeprune.hpp"

namespace edgeprune {

using Bytes = std::vector<std::uint8_t>;

// The bytes that were checked are the bytes that are used: files are read once.
struct Bundle {
    std::filesystem::path path;
    Manifest manifest;
    Bytes model;
    Bytes golden;
};

// A file of at most `most` bytes. Throws Error where it is none, or longer.
Bytes read_file(const std::filesystem::path& path, std::uintmax_t most);

// Throws Error at the first thing that does not fit.
Bundle open_bundle(const std::filesystem::path& path, const std::string& manifest_sha256);

// The manifest alone, from its text; without labels, which are a file of their own.
Manifest parse_manifest(const std::string& text);

// Inputs and expected outputs, one item after the other.
struct Golden {
    std::vector<float> input;
    std::vector<float> output;
};

// Read golden.npz: a zip of uncompressed .npy files of float32, as edgeprune writes it.
// Throws Error where it is something else or does not fit the manifest.
Golden read_golden(const Bytes& npz, const Manifest& manifest);

}  // namespace edgeprune

#endif
