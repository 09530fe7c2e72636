// golden.npz as numpy.savez writes it: a zip whose members are stored, not compressed, each a .npy of version 1 to 3.
// Formats: PKWARE APPNOTE.TXT 4.3.7, 4.3.12 and 4.3.16; NumPy Enhancement Proposal 1.
#include <algorithm>
#include <cstring>

#include "bundle.hpp"

namespace edgeprune {
namespace {

constexpr std::uint32_t end_of_directory = 0x06054b50, directory_entry = 0x02014b50, local_header = 0x04034b50;
constexpr std::size_t end_bytes = 22, entry_bytes = 46, local_bytes = 30;

Error unfit(const char* what) { return Error("golden.npz: not golden arrays (" + std::string(what) + ")"); }

// Bytes that are read at checked places only.
class View {
public:
    View(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    std::size_t size() const { return size_; }

    View part(std::size_t at, std::size_t length) const {
        if (at > size_ || length > size_ - at) throw unfit("cut short");
        return View(data_ + at, length);
    }

    std::uint32_t number(std::size_t at, std::size_t bytes) const {
        const View field = part(at, bytes);
        std::uint32_t value = 0;
        for (std::size_t i = bytes; i-- > 0;) value = value << 8 | field.data_[i];
        return value;
    }

    std::string text() const { return std::string(data_, data_ + size_); }

    void copy_to(float* out) const { std::memcpy(out, data_, size_); }

private:
    const std::uint8_t* data_;
    std::size_t size_;
};

View member(const View& zip, const std::string& wanted) {
    if (zip.size() < end_bytes) throw unfit("no zip");
    std::size_t end = zip.size() - end_bytes;
    while (zip.number(end, 4) != end_of_directory) {
        if (end == 0 || zip.size() - end > 0xFFFF + end_bytes) throw unfit("no zip");
        --end;
    }
    std::size_t at = zip.number(end + 16, 4);
    for (std::uint32_t left = zip.number(end + 10, 2); left > 0; --left) {
        if (zip.number(at, 4) != directory_entry) throw unfit("a damaged zip");
        const std::size_t name = zip.number(at + 28, 2), extra = zip.number(at + 30, 2), comment = zip.number(at + 32, 2);
        if (zip.part(at + entry_bytes, name).text() == wanted) {
            const std::uint32_t size = zip.number(at + 20, 4);
            if (zip.number(at + 10, 2) != 0 || size != zip.number(at + 24, 4)) throw unfit("compressed");
            const std::size_t local = zip.number(at + 42, 4);
            if (zip.number(local, 4) != local_header) throw unfit("a damaged zip");
            return zip.part(local + local_bytes + zip.number(local + 26, 2) + zip.number(local + 28, 2), size);
        }
        at += entry_bytes + name + extra + comment;
    }
    throw unfit("an array is missing");
}

// The header must be what numpy writes for this shape, so that nothing of it is left to interpretation.
std::vector<float> array(const View& npy, std::size_t count, const TensorInfo& info) {
    if (npy.part(0, 6).text() != "\x93NUMPY") throw unfit("no .npy");
    const std::size_t wide = npy.number(6, 1) == 1 ? 2 : 4;
    const std::size_t length = npy.number(8, wide);
    std::string header = npy.part(8 + wide, length).text();
    header.erase(std::remove_if(header.begin(), header.end(), [](char c) { return c == ' ' || c == '\n'; }), header.end());
    std::string wanted = "{'descr':'<f4','fortran_order':False,'shape':(" + std::to_string(count) + ",";
    for (std::size_t i = 0; i < info.shape.size(); ++i)
        wanted += std::to_string(info.shape[i]) + (i + 1 < info.shape.size() ? "," : "");
    if (header != wanted + "),}") throw unfit("its shapes are not those of the manifest");
    const std::size_t start = 8 + wide + length;
    const View values = npy.part(start, npy.size() - start);
    if (values.size() % sizeof(float) != 0 || values.size() / sizeof(float) / info.size() != count ||
        values.size() / sizeof(float) % info.size() != 0)
        throw unfit("its size is not that of the manifest");
    std::vector<float> out(values.size() / sizeof(float));
    values.copy_to(out.data());
    return out;
}

}  // namespace

Golden read_golden(const Bytes& npz, const Manifest& manifest) {
    const View zip(npz.data(), npz.size());
    return {array(member(zip, "input.npy"), manifest.golden_count, manifest.input),
            array(member(zip, "output.npy"), manifest.golden_count, manifest.output)};
}

}  // namespace edgeprune
