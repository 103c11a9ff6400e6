#include <nanobind/nanobind.h>
namespace nb = nanobind;
void bind_symmetric(nb::module_&) {}
