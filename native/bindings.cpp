// The Python module of the compiled kernels, `_native`. Every family binds its own; the twins of
// moiety/protocols/kernels/reference specify them.
#include <nanobind/nanobind.h>

#include "arguments.hpp"

namespace moiety {

void bind_pool(nb::module_& m) {
  // A party that ends early leaves its session, and with it a pool, to the end of the process.
  nb::set_leak_warnings(false);
  nb::class_<Pool>(m, "Pool", "Threads that kernels share their ranges among.")
      .def(
          "__init__",
          [](Pool* pool, u64 threads, u64 hand_over) {
            check_range("threads", threads, 1, 256);
            check_range("hand_over", hand_over, 1, 1'000'000'000);
            new (pool) Pool(threads, hand_over);
          },
          "threads"_a, "hand_over"_a = 3000)
      .def("close", &Pool::close, nb::call_guard<nb::gil_scoped_release>(),
           "End the threads; later calls run in their callers'.")
      .def_ro("threads", &Pool::threads, "The caller's among them.")
      .def_prop_rw(
          "measured", [](const Pool& pool) { return pool.measured.load(); },
          [](Pool& pool, bool measured) { pool.measured = measured; }, "Whether `seconds` counts.")
      .def_prop_ro("seconds", &Pool::seconds,
                   "CPU seconds inside ranges of calls that were cut into several.");
}

void bind_symmetric(nb::module_& m);
void bind_rlwe(nb::module_& m);
void bind_silent(nb::module_& m);

}  // namespace moiety

NB_MODULE(_native, m) {
  m.doc() = "Compiled kernels; moiety.protocols.kernels.reference is their specification.";
  moiety::bind_pool(m);
  moiety::bind_symmetric(m);
  moiety::bind_rlwe(m);
  moiety::bind_silent(m);
}
