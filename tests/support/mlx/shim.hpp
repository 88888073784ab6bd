// What the C interface of MLX (mlx-c) takes for granted and GCC 12 lacks: `std::format`, of which it only uses "{}".
#pragma once
#if __has_include(<format>)
#include <format>
#else
#include <sstream>
#include <string>
#include <string_view>
namespace std {
template <class... Args> string format(string_view text, const Args &...args) {
    ostringstream out;
    [[maybe_unused]] auto next = [&](const auto &arg) {
        const auto gap = text.find("{}");
        out << text.substr(0, gap) << arg;
        text.remove_prefix(gap + 2);
    };
    (next(args), ...);
    out << text;
    return out.str();
}
} // namespace std
#endif
