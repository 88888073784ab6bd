// What `mlx-rs` calls and is there on a Mac with an ARM processor only.
#include <bit>
#include <cstdint>
#include <ctime>
#include <exception>

#include "mlx/c/array.h"
#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"

namespace {
template <class T> int item(uint16_t *result, const mlx_array array) {
    try {
        *result = std::bit_cast<uint16_t>(mlx_array_get_(array).item<T>());
        return 0;
    } catch (std::exception &error) {
        mlx_error(error.what());
        return 1;
    }
}

template <class T> const uint16_t *data(const mlx_array array) {
    try {
        return reinterpret_cast<const uint16_t *>(mlx_array_get_(array).data<T>());
    } catch (std::exception &error) {
        mlx_error(error.what());
        return nullptr;
    }
}
} // namespace

extern "C" {
// The two half types have no C name on x86: they travel as their bits.
int mlx_array_item_float16(uint16_t *result, const mlx_array array) {
    return item<mlx::core::float16_t>(result, array);
}
int mlx_array_item_bfloat16(uint16_t *result, const mlx_array array) {
    return item<mlx::core::bfloat16_t>(result, array);
}
const uint16_t *mlx_array_data_float16(const mlx_array array) { return data<mlx::core::float16_t>(array); }
const uint16_t *mlx_array_data_bfloat16(const mlx_array array) { return data<mlx::core::bfloat16_t>(array); }

// Seeds the random numbers.
uint64_t mach_approximate_time() {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1'000'000'000ull + now.tv_nsec;
}
}
