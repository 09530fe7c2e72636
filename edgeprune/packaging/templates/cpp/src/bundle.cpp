#include "bundle.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "json.hpp"
#include "sha256.hpp"

namespace edgeprune {
namespace {

constexpr int newest_schema = 1;
constexpr std::uintmax_t most_manifest_bytes = 4u << 20;
constexpr std::uintmax_t most_file_bytes = std::uintmax_t{8} << 30;
constexpr std::int64_t most_values = std::int64_t{1} << 31;  // of one tensor: what both runtimes can index
constexpr std::size_t most_word_bytes = 800;                 // 200 characters
constexpr double most_pixels = 1 << 15;                      // along a side

Error damaged(const std::filesystem::path& path, const std::string& name) {
    return Error(path.string() + ": " + name + " does not match its sha256. Copy or export the bundle again.");
}

// One member after the other of a JSON object, with what was expected in the fault.
class Fields {
public:
    Fields(const json::Value& value, std::string where) : where_(std::move(where)) {
        members_ = std::get_if<json::Object>(&value.is);
        if (members_ == nullptr) throw Error(where_ + ": an object expected");
    }

    const json::Value& at(const std::string& key) const {
        const auto found = members_->find(key);
        if (found == members_->end()) throw Error(where_ + "." + key + ": missing");
        return found->second;
    }

    Fields object(const std::string& key) const { return Fields(at(key), where_ + "." + key); }

    const std::string& text(const std::string& key) const { return as<std::string>(at(key), key, "a string"); }

    // What is shown: no line break, and nothing that steers a terminal.
    const std::string& word(const std::string& key) const {
        const std::string& value = text(key);
        const auto odd = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
        if (value.empty() || value.size() > most_word_bytes || std::any_of(value.begin(), value.end(), odd))
            throw Error(where_ + "." + key + ": out of range");
        return value;
    }

    const std::string& one_of(const std::string& key, std::initializer_list<const char*> known) const {
        const std::string& value = text(key);
        if (std::find(known.begin(), known.end(), value) == known.end())
            throw Error(where_ + "." + key + " = '" + value + "': this loader does not know it; update it");
        return value;
    }

    double number(const std::string& key, double least, double most) const {
        const double value = as<double>(at(key), key, "a number");
        if (!(value >= least && value <= most)) throw Error(where_ + "." + key + ": out of range");
        return value;
    }

    std::int64_t integer(const std::string& key, double least, double most) const {
        return whole(number(key, least, most), key);
    }

    std::vector<double> numbers(const std::string& key) const {
        std::vector<double> values;
        for (const json::Value& item : as<json::Array>(at(key), key, "an array"))
            values.push_back(as<double>(item, key, "numbers"));
        return values;
    }

    std::vector<std::int64_t> shape(const std::string& key) const {
        std::vector<std::int64_t> dims;
        std::int64_t size = 1;
        for (const double value : numbers(key)) {
            if (!(value >= 1 && value <= static_cast<double>(most_values))) throw Error(where_ + "." + key + ": out of range");
            dims.push_back(whole(value, key));
            size *= dims.back();
            if (size > most_values) throw Error(where_ + "." + key + ": too large");
        }
        return dims;
    }

    const json::Object& members() const { return *members_; }

private:
    template <typename T>
    const T& as(const json::Value& value, const std::string& key, const char* what) const {
        const T* found = std::get_if<T>(&value.is);
        if (found == nullptr) throw Error(where_ + "." + key + ": " + what + " expected");
        return *found;
    }

    std::int64_t whole(double value, const std::string& key) const {
        if (value != std::floor(value)) throw Error(where_ + "." + key + ": a whole number expected");
        return static_cast<std::int64_t>(value);
    }

    const json::Object* members_;
    std::string where_;
};

TensorInfo tensor(const Fields& fields) {
    fields.one_of("dtype", {"float32"});
    return {fields.word("name"), fields.shape("shape")};
}

std::vector<float> floats(const std::vector<double>& values) {
    std::vector<float> narrow;
    for (const double value : values) narrow.push_back(static_cast<float>(value));
    return narrow;
}

Preprocessing preprocessing(const Fields& fields, const TensorInfo& input) {
    using Channels = Preprocessing::Channels;
    const std::string& channels = fields.one_of("channels", {"RGB", "L", "any"});
    Preprocessing wanted;
    wanted.channels = channels == "RGB" ? Channels::rgb : channels == "L" ? Channels::grey : Channels::any;
    wanted.resize_shorter_to = static_cast<int>(fields.integer("resize_shorter_to", 1, most_pixels));
    wanted.crop = static_cast<int>(fields.integer("crop", 1, most_pixels));
    wanted.mean = floats(fields.numbers("mean"));
    wanted.std = floats(fields.numbers("std"));
    if (wanted.channels == Channels::any) return wanted;
    const std::size_t planes = wanted.channels == Channels::rgb ? 3 : 1;
    const std::vector<std::int64_t> shape = {static_cast<std::int64_t>(planes), wanted.crop, wanted.crop};
    const bool positive = std::all_of(wanted.std.begin(), wanted.std.end(), [](float std) { return std > 0; });
    if (input.shape != shape || wanted.mean.size() != planes || wanted.std.size() != planes || !positive ||
        wanted.crop > wanted.resize_shorter_to)
        throw Error("preprocessing: does not fit the input");
    return wanted;
}

std::vector<std::string> lines(const Bytes& text) {
    std::vector<std::string> all;
    std::string line;
    for (const std::uint8_t byte : text) {
        if (byte != '\n') {
            line += static_cast<char>(byte);
            continue;
        }
        all.push_back(std::move(line));
        line.clear();
    }
    if (!line.empty()) all.push_back(std::move(line));
    return all;
}

// A plain name: nothing that leads to another folder, on any system.
bool plain(const std::string& name) {
    if (name.empty() || name.size() > 100 || name.front() == '.') return false;
    return std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
    });
}

Bytes checked(const std::filesystem::path& path, const std::string& name, const Fields& sum) {
    const auto size = static_cast<std::uintmax_t>(sum.integer("bytes", 0, static_cast<double>(most_file_bytes)));
    std::error_code none;
    if (!plain(name) || std::filesystem::file_size(path / name, none) != size || none) throw damaged(path, name);
    Bytes content = read_file(path / name, size);
    if (sha256(content.data(), content.size()) != sum.text("sha256")) throw damaged(path, name);
    return content;
}

}  // namespace

// A runtime's words and a stranger's names may hold line breaks, and what steers a terminal.
Error::Error(const std::string& text) : std::runtime_error([&] {
    std::string line = text;
    for (char& c : line)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
    return line;
}()) {}

std::size_t TensorInfo::size() const {
    std::size_t values = 1;
    for (const std::int64_t dim : shape) values *= static_cast<std::size_t>(dim);
    return values;
}

Bytes read_file(const std::filesystem::path& path, std::uintmax_t most) {
    std::error_code none;
    const std::uintmax_t size = std::filesystem::file_size(path, none);
    if (none || !std::filesystem::is_regular_file(path, none))
        throw Error(path.string() + ": cannot be read. Check that it is there");
    if (size > most) throw Error(path.string() + ": larger than it may be. Copy or export the bundle again");
    Bytes content(static_cast<std::size_t>(size));
    std::ifstream stream(path, std::ios::binary);
    stream.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()));
    if (!stream) throw Error(path.string() + ": cannot be read. Check its permissions");
    return content;
}

Manifest parse_manifest(const std::string& text) {
    const json::Value document = json::parse(text);
    const Fields fields(document, "manifest");
    const std::int64_t schema = fields.integer("schema", 0, std::numeric_limits<int>::max());
    if (schema > newest_schema)
        throw Error("bundle format " + std::to_string(schema) + ", and this loader reads up to " +
                    std::to_string(newest_schema) + ". Take a newer loader (edgeprune package --for cpp)");
    if (schema < 1) throw Error("manifest.schema: out of range");
    Manifest manifest;
    manifest.name = fields.word("name");
    manifest.target = fields.word("target");
    manifest.runtime = fields.one_of("runtime", {"onnxruntime", "tensorrt"});
    manifest.precision = fields.one_of("precision", {"int8", "fp32"});
    manifest.lowering = fields.word("lowering");
    manifest.weight_bits = static_cast<int>(fields.integer("weight_bits", 1, 64));
    manifest.input = tensor(fields.object("input"));
    manifest.output = tensor(fields.object("output"));
    manifest.preprocessing = preprocessing(fields.object("preprocessing"), manifest.input);
    const Fields golden = fields.object("golden");
    manifest.golden_count = static_cast<std::size_t>(golden.integer("count", 1, static_cast<double>(most_values)));
    manifest.golden_tolerance = golden.number("tolerance", 0, 1e9);
    return manifest;
}

Bundle open_bundle(const std::filesystem::path& path, const std::string& manifest_sha256) {
    std::error_code none;
    if (!std::filesystem::is_regular_file(path / "manifest.json", none))
        throw Error(path.string() + ": no bundle here (manifest.json is missing). Give a bundle folder.");
    const Bytes content = read_file(path / "manifest.json", most_manifest_bytes);
    const std::string sum = sha256(content.data(), content.size());
    if (!manifest_sha256.empty() && sum != manifest_sha256)
        throw Error(path.string() + ": is not the bundle that this program was made for (manifest.json has sha256 " + sum +
                    "). Install the right one.");
    const Bytes stated = std::filesystem::is_regular_file(path / "manifest.sha256", none)
                             ? read_file(path / "manifest.sha256", 4096)
                             : Bytes();
    if (std::string(stated.begin(), stated.end()).substr(0, sum.size()) != sum) throw damaged(path, "manifest.json");
    const std::string text(content.begin(), content.end());
    try {
        Bundle bundle{path, parse_manifest(text), {}, {}};
        const json::Value document = json::parse(text);
        const Fields files = Fields(document, "manifest").object("files");
        Bytes labels;
        const auto into = [&](const std::string& name) -> Bytes* {
            if (name == "model.onnx") return &bundle.model;
            if (name == "golden.npz") return &bundle.golden;
            return name == "labels.txt" ? &labels : nullptr;
        };
        for (const char* needed : {"model.onnx", "golden.npz", "labels.txt"}) files.at(needed);
        for (const auto& [name, member] : files.members()) {
            Bytes checked_content = checked(path, name, Fields(member, "manifest.files." + name));
            if (Bytes* slot = into(name)) *slot = std::move(checked_content);
        }
        bundle.manifest.labels = lines(labels);
        return bundle;
    } catch (const Error& error) {
        const std::string reason = error.what();
        if (reason.rfind(path.string(), 0) == 0) throw;
        throw Error(path.string() + ": " + reason + ". Export the bundle again.");
    }
}

}  // namespace edgeprune
