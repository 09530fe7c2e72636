// JSON, read strictly: RFC 8259, no duplicate keys, limited depth. What two readers could read differently is refused.
#ifndef EDGEPRUNE_JSON_HPP
#define EDGEPRUNE_JSON_HPP

#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace edgeprune::json {

struct Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, Value, std::less<>>;

struct Value {
    std::variant<std::nullptr_t, bool, double, std::string, Array, Object> is = nullptr;
};

// Throws edgeprune::Error with what does not fit and where.
Value parse(std::string_view text);

}  // namespace edgeprune::json

#endif
