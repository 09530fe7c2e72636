#include "pictures.hpp"

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>

#ifdef EDGEPRUNE_WITH_JPEG
#include <csetjmp>

#include <jpeglib.h>
#endif

namespace {

using edgeprune::Error;

constexpr int most_side = 1 << 16;
constexpr std::size_t most_pixels = std::size_t{1} << 28;

std::size_t checked_area(long width, long height, const std::filesystem::path& path) {
    if (width < 1 || height < 1 || width > most_side || height > most_side ||
        static_cast<std::size_t>(width) * static_cast<std::size_t>(height) > most_pixels)
        throw Error(path.string() + ": too large or empty. Give another image.");
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
}

// "P6 WIDTH HEIGHT 255" or P5, with comments, one white character, then the pixels (netpbm's ppm(5) and pgm(5)).
Picture read_netpbm(std::ifstream& stream, int channels, const std::filesystem::path& path) {
    const auto number = [&] {
        while (std::isspace(stream.peek()) || stream.peek() == '#') {
            if (stream.get() != '#') continue;
            while (stream && stream.peek() != '\n') stream.get();
        }
        long value = -1;
        stream >> value;
        return value;
    };
    const long width = number(), height = number(), most = number();
    stream.get();
    if (!stream || most != 255) throw Error(path.string() + ": no PPM or PGM of 8 bits. Convert it.");
    const std::size_t area = checked_area(width, height, path);
    Picture picture{static_cast<int>(width), static_cast<int>(height), channels, {}};
    picture.pixels.resize(area * static_cast<std::size_t>(channels));
    stream.read(reinterpret_cast<char*>(picture.pixels.data()), static_cast<std::streamsize>(picture.pixels.size()));
    if (!stream) throw Error(path.string() + ": cut short. Copy it again.");
    return picture;
}

#ifdef EDGEPRUNE_WITH_JPEG

struct JpegFault {
    jpeg_error_mgr manager;  // first, so that a pointer to it is one to this
    std::jmp_buf back;
};

void leave(j_common_ptr decoder) { std::longjmp(reinterpret_cast<JpegFault*>(decoder->err)->back, 1); }
void keep_quiet(j_common_ptr, int) {}

// libjpeg leaves by longjmp, which skips destructors: what needs one lives outside of here.
bool decode(std::FILE* file, Picture& picture, std::vector<std::uint8_t>& pixels) {
    jpeg_decompress_struct decoder;
    JpegFault fault;
    decoder.err = jpeg_std_error(&fault.manager);
    fault.manager.error_exit = leave;
    fault.manager.emit_message = keep_quiet;
    if (setjmp(fault.back)) {
        jpeg_destroy_decompress(&decoder);
        return false;
    }
    jpeg_create_decompress(&decoder);
    jpeg_stdio_src(&decoder, file);
    jpeg_read_header(&decoder, TRUE);
    decoder.out_color_space = decoder.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&decoder);
    picture.width = static_cast<int>(decoder.output_width);
    picture.height = static_cast<int>(decoder.output_height);
    picture.channels = decoder.output_components;
    const std::size_t stride = std::size_t{decoder.output_width} * static_cast<std::size_t>(decoder.output_components);
    if (std::size_t{decoder.output_width} * decoder.output_height > most_pixels) leave(reinterpret_cast<j_common_ptr>(&decoder));
    pixels.resize(stride * decoder.output_height);
    while (decoder.output_scanline < decoder.output_height) {
        JSAMPROW row = pixels.data() + decoder.output_scanline * stride;
        jpeg_read_scanlines(&decoder, &row, 1);
    }
    jpeg_finish_decompress(&decoder);
    const bool whole = fault.manager.num_warnings == 0;
    jpeg_destroy_decompress(&decoder);
    return whole;
}

Picture read_jpeg(const std::filesystem::path& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    Picture picture{};
    if (!file || !decode(file.get(), picture, picture.pixels)) throw Error(path.string() + ": a damaged JPEG, or none of RGB or grey. Copy it again.");
    return picture;
}

#endif

}  // namespace

Picture read_picture(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    char magic[2] = {};
    if (!stream.read(magic, 2)) throw Error(path.string() + ": cannot be read. Check that it is there.");
    if (magic[0] == 'P' && (magic[1] == '6' || magic[1] == '5')) return read_netpbm(stream, magic[1] == '6' ? 3 : 1, path);
#ifdef EDGEPRUNE_WITH_JPEG
    if (static_cast<unsigned char>(magic[0]) == 0xFF && static_cast<unsigned char>(magic[1]) == 0xD8) return read_jpeg(path);
    throw Error(path.string() + ": neither JPEG nor PPM nor PGM. Convert it.");
#else
    throw Error(path.string() + ": neither PPM nor PGM, and this build has no libjpeg. Convert it, or build with libjpeg.");
#endif
}
