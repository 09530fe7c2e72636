// Image files for the example: PPM and PGM always, JPEG where libjpeg was found. An application has its own decoder or a
// camera, and gives edgeprune::Image its pixels.
#ifndef EDGEPRUNE_PICTURES_HPP
#define EDGEPRUNE_PICTURES_HPP

#include <filesystem>

#include "edgeprune/edgeprune.hpp"

struct Picture {
    int width;
    int height;
    int channels;
    std::vector<std::uint8_t> pixels;

    edgeprune::Image image() const { return {pixels.data(), width, height, channels}; }
};

// Throws edgeprune::Error where the file is none of these, or damaged.
Picture read_picture(const std::filesystem::path& path);

#endif
