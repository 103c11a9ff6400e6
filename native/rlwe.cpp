#include <nanobind/nanobind.h>
namespace nb = nanobind;
void bind_rlwe(nb::module_&) {}
