#include "json.hpp"

#include <cmath>
#include <cstdint>
#include <locale>
#include <sstream>

#include "edgeprune/edgeprune.hpp"

namespace edgeprune::json {
namespace {

constexpr int deepest = 64;

class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    Value document() {
        Value value = any(0);
        blanks();
        if (at_ != text_.size()) fail("something follows the document");
        return value;
    }

private:
    [[noreturn]] void fail(const char* what) const {
        throw Error("not valid JSON (" + std::string(what) + ", byte " + std::to_string(at_) + ")");
    }

    bool more() const { return at_ < text_.size(); }
    char peek() const { return more() ? text_[at_] : '\0'; }

    void blanks() {
        while (more() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
    }

    bool take(char wanted) {
        blanks();
        if (!more() || peek() != wanted) return false;
        ++at_;
        return true;
    }

    void need(char wanted, const char* what) {
        if (!take(wanted)) fail(what);
    }

    bool take_word(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) return false;
        at_ += word.size();
        return true;
    }

    Value any(int depth) {
        if (depth > deepest) fail("nested too deeply");
        blanks();
        if (peek() == '{') return {object(depth)};
        if (peek() == '[') return {array(depth)};
        if (peek() == '"') return {string()};
        if (take_word("true")) return {true};
        if (take_word("false")) return {false};
        if (take_word("null")) return {nullptr};
        return {number()};
    }

    Object object(int depth) {
        Object members;
        need('{', "{ expected");
        if (take('}')) return members;
        do {
            blanks();
            std::string key = string();
            need(':', ": expected");
            Value value = any(depth + 1);
            if (!members.emplace(std::move(key), std::move(value)).second) fail("a key stands there twice");
        } while (take(','));
        need('}', "} expected");
        return members;
    }

    Array array(int depth) {
        Array items;
        need('[', "[ expected");
        if (take(']')) return items;
        do items.push_back(any(depth + 1));
        while (take(','));
        need(']', "] expected");
        return items;
    }

    double number() {
        const std::size_t start = at_;
        if (peek() == '-') ++at_;
        if (peek() == '0') ++at_;
        else digits();
        if (peek() == '.') {
            ++at_;
            digits();
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            if (peek() == '+' || peek() == '-') ++at_;
            digits();
        }
        // Not strtod, which reads as the user's locale says; from_chars of a double needs GCC 11.
        std::istringstream stream{std::string(text_.substr(start, at_ - start))};
        stream.imbue(std::locale::classic());
        double value = 0;
        stream >> value;
        if (stream.fail() || !std::isfinite(value)) fail("a number that does not fit");
        return value;
    }

    void digits() {
        if (peek() < '0' || peek() > '9') fail("a value expected");
        while (peek() >= '0' && peek() <= '9') ++at_;
    }

    std::string string() {
        need('"', "\" expected");
        std::string out;
        while (more() && peek() != '"') {
            const auto byte = static_cast<unsigned char>(peek());
            if (byte < 0x20) fail("a control character in a string");
            if (byte == '\\') escape(out);
            else if (byte < 0x80) out += text_[at_++];
            else utf8(out);
        }
        need('"', "a string without its end");
        return out;
    }

    void escape(std::string& out) {
        ++at_;
        const char kind = peek();
        ++at_;
        switch (kind) {
            case '"': out += '"'; break;
            case '\\': out += '\\'; break;
            case '/': out += '/'; break;
            case 'b': out += '\b'; break;
            case 'f': out += '\f'; break;
            case 'n': out += '\n'; break;
            case 'r': out += '\r'; break;
            case 't': out += '\t'; break;
            case 'u': encode(out, code_point()); break;
            default: fail("an unknown escape");
        }
    }

    std::uint32_t hex4() {
        std::uint32_t code = 0;
        for (int digit = 0; digit < 4; ++digit, ++at_) {
            const char c = peek();
            const int value = c >= '0' && c <= '9'   ? c - '0'
                              : c >= 'a' && c <= 'f' ? c - 'a' + 10
                              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                     : -1;
            if (value < 0) fail("four hex digits expected");
            code = code * 16 + static_cast<std::uint32_t>(value);
        }
        return code;
    }

    std::uint32_t code_point() {
        const std::uint32_t first = hex4();
        if (first < 0xD800 || first > 0xDFFF) return first;
        if (first > 0xDBFF || !take_word("\\u")) fail("half of a surrogate pair");
        const std::uint32_t second = hex4();
        if (second < 0xDC00 || second > 0xDFFF) fail("half of a surrogate pair");
        return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    }

    static void encode(std::string& out, std::uint32_t code) {
        const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
        constexpr std::uint32_t lead[] = {0x00, 0xC0, 0xE0, 0xF0};
        out += static_cast<char>(lead[more] | (code >> (6 * more)));
        for (int byte = more - 1; byte >= 0; --byte) out += static_cast<char>(0x80 | ((code >> (6 * byte)) & 0x3F));
    }

    // One character of two to four bytes, in its shortest form and no surrogate (RFC 3629).
    void utf8(std::string& out) {
        const auto lead = static_cast<unsigned char>(text_[at_]);
        const std::size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || at_ + more >= text_.size()) fail("not UTF-8");
        std::uint32_t code = lead & (0x3Fu >> more);
        for (std::size_t i = 1; i <= more; ++i) {
            const auto next = static_cast<unsigned char>(text_[at_ + i]);
            if ((next & 0xC0) != 0x80) fail("not UTF-8");
            code = (code << 6) | (next & 0x3Fu);
        }
        constexpr std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) fail("not UTF-8");
        out.append(text_.substr(at_, more + 1));
        at_ += more + 1;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace

Value parse(std::string_view text) { return Reader(text).document(); }

}  // namespace edgeprune::json
