// What happens to an image, in this order:
//
// 1. RGB becomes grey, or grey RGB, where the network wants the other: grey = (19595 R + 38470 G + 7471 B + 2^15) / 2^16
//    rounded down, ITU-R BT.601 in 16 bits, as Pillow's convert("L") has it.
// 2. The shorter side becomes `resize_shorter_to` pixels, the other keeps the ratio (rounded half to even). Bilinear with
//    antialiasing: a triangle of one output pixel to each side (of one input pixel where the image grows), its weights
//    normalised in double and rounded to 22 bits; rows first, rounded to 8 bits, then columns. That is Pillow's
//    BILINEAR for 8-bit images.
// 3. The centre crop x crop pixels are kept.
// 4. (pixel / 255 - mean) / std, in float, in this order.
//
// The last line is not to be fused or reordered: CMakeLists.txt says -ffp-contract=off.
#include "preprocess.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace edgeprune {
namespace {

constexpr int weight_bits = 22;
constexpr int most_side = 1 << 16;
constexpr double most_resized = 1 << 28;  // pixels: a strip one pixel wide grows by its length squared

struct Picture {
    int width;
    int height;
    int channels;
    std::vector<std::uint8_t> pixels;
};

std::size_t area(int width, int height, int channels) {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * static_cast<std::size_t>(channels);
}

// For each output pixel along one axis: the first input pixel that counts, and the weights from there on.
struct Taps {
    std::vector<int> first;
    std::vector<int> count;
    std::vector<std::int32_t> weights;  // [output, most]
    std::size_t most;
};

Taps taps(int from, int to) {
    const double scale = static_cast<double>(from) / to;
    const double reach = std::max(scale, 1.0);
    Taps out{{}, {}, {}, static_cast<std::size_t>(std::ceil(reach)) * 2 + 1};
    out.weights.assign(static_cast<std::size_t>(to) * out.most, 0);
    std::vector<double> triangle;
    for (int pixel = 0; pixel < to; ++pixel) {
        const double centre = (pixel + 0.5) * scale;
        const int first = std::max(0, static_cast<int>(centre - reach + 0.5));
        const int last = std::min(from, static_cast<int>(centre + reach + 0.5));
        triangle.clear();
        double sum = 0;
        for (int x = first; x < last; ++x) {
            triangle.push_back(std::max(0.0, 1.0 - std::abs((x - centre + 0.5) * (1.0 / reach))));
            sum += triangle.back();
        }
        std::int32_t* weights = out.weights.data() + static_cast<std::size_t>(pixel) * out.most;
        for (std::size_t i = 0; i < triangle.size(); ++i)
            weights[i] = static_cast<std::int32_t>(0.5 + triangle[i] / sum * (1 << weight_bits));
        out.first.push_back(first);
        out.count.push_back(last - first);
    }
    return out;
}

std::uint8_t rounded(std::int32_t sum) {
    return static_cast<std::uint8_t>(std::min((sum + (1 << (weight_bits - 1))) >> weight_bits, 255));
}

Picture resize_width(const Picture& in, int width) {
    Picture out{width, in.height, in.channels, std::vector<std::uint8_t>(area(width, in.height, in.channels))};
    const Taps along = taps(in.width, width);
    const auto step = static_cast<std::size_t>(in.channels);
    std::uint8_t* to = out.pixels.data();
    for (int y = 0; y < in.height; ++y) {
        const std::uint8_t* row = in.pixels.data() + area(in.width, y, in.channels);
        for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x)
            for (std::size_t c = 0; c < step; ++c) {
                const std::uint8_t* from = row + static_cast<std::size_t>(along.first[x]) * step + c;
                const std::int32_t* weights = along.weights.data() + x * along.most;
                std::int32_t sum = 0;
                for (int i = 0; i < along.count[x]; ++i) sum += weights[i] * from[static_cast<std::size_t>(i) * step];
                *to++ = rounded(sum);
            }
    }
    return out;
}

Picture resize_height(const Picture& in, int height) {
    Picture out{in.width, height, in.channels, std::vector<std::uint8_t>(area(in.width, height, in.channels))};
    const Taps along = taps(in.height, height);
    const std::size_t stride = area(in.width, 1, in.channels);
    std::vector<std::int32_t> sums(stride);
    for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
        std::fill(sums.begin(), sums.end(), 0);
        for (int i = 0; i < along.count[y]; ++i) {
            const std::int32_t weight = along.weights[y * along.most + static_cast<std::size_t>(i)];
            const std::uint8_t* row = in.pixels.data() + static_cast<std::size_t>(along.first[y] + i) * stride;
            for (std::size_t x = 0; x < stride; ++x) sums[x] += weight * row[x];
        }
        std::transform(sums.begin(), sums.end(), out.pixels.data() + y * stride, rounded);
    }
    return out;
}

Picture converted(const Image& image, int channels) {
    const std::size_t pixels = area(image.width, image.height, 1);
    Picture out{image.width, image.height, channels, {}};
    if (image.channels == channels) {
        out.pixels.assign(image.pixels, image.pixels + pixels * static_cast<std::size_t>(channels));
        return out;
    }
    out.pixels.reserve(pixels * static_cast<std::size_t>(channels));
    for (std::size_t i = 0; i < pixels; ++i) {
        if (channels == 3) {
            out.pixels.insert(out.pixels.end(), 3, image.pixels[i]);
            continue;
        }
        const std::uint8_t* rgb = image.pixels + 3 * i;
        out.pixels.push_back(static_cast<std::uint8_t>((19595u * rgb[0] + 38470u * rgb[1] + 7471u * rgb[2] + 0x8000u) >> 16));
    }
    return out;
}

int scaled(int side, double scale, int least) {
    return std::max(least, static_cast<int>(std::nearbyint(side * scale)));
}

Picture resized(Picture picture, int shorter_to) {
    const int shorter = std::min(picture.width, picture.height);
    if (shorter == shorter_to) return picture;
    const double scale = static_cast<double>(shorter_to) / shorter;
    if (scale * picture.width * scale * picture.height > most_resized)
        throw Error("the image is too long for its width. Crop it.");
    const int width = scaled(picture.width, scale, shorter_to), height = scaled(picture.height, scale, shorter_to);
    if (width != picture.width) picture = resize_width(picture, width);
    if (height != picture.height) picture = resize_height(picture, height);
    return picture;
}

}  // namespace

void preprocess(const Image& image, const Preprocessing& wanted, float* out) {
    if (wanted.channels == Preprocessing::Channels::any)
        throw Error("this network takes no images. Give run() the tensors that it was trained on.");
    if (image.pixels == nullptr || image.width < 1 || image.height < 1 || image.width > most_side ||
        image.height > most_side || (image.channels != 1 && image.channels != 3))
        throw Error("an image of 1 or 3 channels and 1 to 65536 pixels a side is needed.");
    const int channels = wanted.channels == Preprocessing::Channels::rgb ? 3 : 1;
    const Picture picture = resized(converted(image, channels), wanted.resize_shorter_to);
    const int left = (picture.width - wanted.crop) / 2, top = (picture.height - wanted.crop) / 2;
    for (int c = 0; c < channels; ++c) {
        const float mean = wanted.mean[static_cast<std::size_t>(c)], std = wanted.std[static_cast<std::size_t>(c)];
        for (int y = top; y < top + wanted.crop; ++y) {
            const std::uint8_t* row = picture.pixels.data() + area(picture.width, y, channels);
            for (int x = left; x < left + wanted.crop; ++x)
                *out++ = (static_cast<float>(row[area(x, 1, channels) + static_cast<std::size_t>(c)]) / 255.0f - mean) / std;
        }
    }
}

}  // namespace edgeprune
