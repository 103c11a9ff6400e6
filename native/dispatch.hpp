// The choice of instruction set at run time, one per family of kernels.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arguments.hpp"
#include "processor.hpp"

namespace moiety {

// `Kernels` is a family's table of functions, `name` its instruction set.
template <class Kernels>
class Dispatch {
 public:
  // `usable`: the tables that run here, best first; the best is in use until `choose`.
  explicit Dispatch(std::vector<const Kernels*> usable)
      : usable_(std::move(usable)), active_(usable_.empty() ? nullptr : usable_.front()) {}

  bool supported() const { return !usable_.empty(); }

  const Kernels& active() const {
    const Kernels* active = active_.load(std::memory_order_relaxed);
    if (active == nullptr) {
      throw std::runtime_error("this processor has no AES instructions: use the reference kernels");
    }
    return *active;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Kernels* each : usable_) names.emplace_back(each->name);
    return names;
  }

  void choose(const std::string& name) {
    for (const Kernels* each : usable_) {
      if (name == each->name) return active_.store(each, std::memory_order_relaxed);
    }
    refuse("this processor or build has no instruction set '" + name + "'");
  }

  // FAMILY_isa_names(), FAMILY_isa() and set_FAMILY_isa(name). `this` must outlive the module.
  void bind(nb::module_& m, const std::string& family) {
    m.def((family + "_isa_names").c_str(), [this] { return names(); },
          "Instruction sets of the family that run here, best first.");
    m.def((family + "_isa").c_str(), [this] { return std::string(active().name); },
          "The instruction set in use.");
    m.def(("set_" + family + "_isa").c_str(), [this](const std::string& name) { choose(name); },
          "name"_a, "Use another instruction set that runs here (for tests and benchmarks).");
  }

 private:
  const std::vector<const Kernels*> usable_;
  std::atomic<const Kernels*> active_;
};

}  // namespace moiety
