// dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", DATE 2017): calls with
// secrets of two classes, all zero and random, in random order; Welch's t-test over the cycles they
// took, of which the slowest are left out. Short calls are timed several together.
//
//     timing [--planted] CALLS ISA ..
//
// A line a kernel: KERNEL ISA T DIFFERENCE VISIBLE MEAN, in nanoseconds of a call but for Welch's
// T; of several cuts the one with a difference that counts, else the one that would show the least.
#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <set>

#include "call.hpp"

namespace moiety::harness {
namespace {

constexpr std::size_t kImages = 16;
// What counts as a difference: dudect's |t|, but no less than a tick of the clock, and than this
// part of a call. Below, data alone is seen to tell, where memcheck finds no branch and no address.
constexpr double kThreshold = 10, kLeastPart = 0.005;

u64 begin() {
  _mm_mfence();
  _mm_lfence();
  const u64 now = __rdtsc();
  _mm_lfence();
  return now;
}

u64 end() {
  unsigned core;
  const u64 now = __rdtscp(&core);
  _mm_lfence();
  return now;
}

struct Moments {
  double n = 0, mean = 0, squares = 0;

  void add(double x) {  // Welford
    n++;
    const double from = x - mean;
    mean += from / n;
    squares += from * (x - mean);
  }
  double error() const { return squares / (n - 1) / n; }
};

struct Sample {
  bool random;
  u64 cycles;
};

struct Verdict {
  // Cycles of a call, but for t.
  double t = 0, difference = 0, visible = std::numeric_limits<double>::infinity(), mean = 0;

  double excess() const { return std::abs(difference) / visible; }
};

// What took a time of `runs` calls.
struct Measured {
  std::size_t runs;
  std::vector<Sample> samples;
};

// Random values of all secrets of a call, one after the other.
std::vector<std::vector<u8>> images(const Call& call, Random& source) {
  std::size_t bytes = 0;
  for (const Call::Secret& each : call.secrets()) bytes += each.bytes;
  std::vector<std::vector<u8>> made(kImages, std::vector<u8>(bytes));
  for (std::vector<u8>& image : made) {
    u8* at = image.data();
    for (const Call::Secret& each : call.secrets()) {
      each.fill(at, source);
      at += each.bytes;
    }
  }
  return made;
}

// Secrets of an image, or zeros that are made of it: both classes read and write the same memory,
// else where it lies would tell them apart.
void set(const Call& call, const u8* image, bool random) {
  const u8 mask = static_cast<u8>(-static_cast<int>(random));
  for (const Call::Secret& secret : call.secrets()) {
    u8* to = static_cast<u8*>(secret.data);
    for (std::size_t i = 0; i < secret.bytes; i++) to[i] = image[i] & mask;
    image += secret.bytes;
  }
}

// The clock may tick in steps of many cycles: so many calls are timed together.
constexpr u64 kLeastCycles = 20000;

std::size_t runs_of(const Call& call) {
  for (std::size_t runs = 1;; runs *= 2) {
    const u64 start = begin();
    for (std::size_t i = 0; i < runs; i++) call.run();
    if (end() - start >= kLeastCycles) return runs;
  }
}

Measured measured(const Case& each, std::size_t calls, u64 seed) {
  Random random(seed);
  Call call(random);
  each.make(call, {160, 3, 13});
  const std::vector<std::vector<u8>> all = images(call, random);
  for (int i = 0; i < 200; i++) call.run();  // warms up
  Measured made{runs_of(call), {}};
  made.samples.reserve(calls);
  for (std::size_t i = 0; i < calls; i++) {
    const u64 choice = random.next();
    const bool which = choice & 1;
    set(call, all[choice >> 1 & (kImages - 1)].data(), which);
    const u64 start = begin();
    for (std::size_t run = 0; run < made.runs; run++) call.run();
    made.samples.push_back({which, end() - start});
  }
  return made;
}

// Of the samples of at most `most` cycles.
Verdict welch(const Measured& measured, u64 most, u64 tick) {
  Moments classes[2];
  for (const Sample& sample : measured.samples) {
    if (sample.cycles <= most) classes[sample.random].add(static_cast<double>(sample.cycles));
  }
  if (std::min(classes[0].n, classes[1].n) < 100) return {};  // other cuts tell them apart
  const double error = std::sqrt(classes[0].error() + classes[1].error());
  const double difference = classes[1].mean - classes[0].mean, mean = classes[0].mean;
  const double visible =
      std::max({kThreshold * error, static_cast<double>(tick), kLeastPart * mean});
  const double runs = static_cast<double>(measured.runs);
  return {error > 0 ? difference / error : 0, difference / runs, visible / runs, mean / runs};
}

// What differs before what does not; the larger difference, or the finer measurement.
bool tells_more(const Verdict& one, const Verdict& other) {
  if (one.excess() > 1 || other.excess() > 1) return one.excess() > other.excess();
  return one.visible < other.visible;
}

// Of several cuts, as in dudect: everything but the slowest half, tenth, thousandth.
Verdict judged(const Measured& measured) {
  std::vector<u64> sorted;
  for (const Sample& sample : measured.samples) sorted.push_back(sample.cycles);
  std::sort(sorted.begin(), sorted.end());
  u64 tick = sorted.back();
  for (std::size_t i = 1; i < sorted.size(); i++) {
    if (sorted[i] > sorted[i - 1]) tick = std::min(tick, sorted[i] - sorted[i - 1]);
  }
  Verdict best = welch(measured, sorted[sorted.size() / 2], tick);
  for (const double part : {0.9, 0.999}) {
    const auto at = static_cast<std::size_t>(part * static_cast<double>(sorted.size() - 1));
    const Verdict one = welch(measured, sorted[at], tick);
    if (tells_more(one, best)) best = one;
  }
  return best;
}

// What differs is measured twice again, and counts if it differs each time, to the same side.
Verdict repeated(const Case& each, std::size_t calls) {
  Verdict least = judged(measured(each, calls, 1));
  for (u64 again = 2; again <= 3 && least.excess() > 1; again++) {
    const Verdict one = judged(measured(each, calls, again));
    if (one.difference * least.difference < 0) return {0, 0, one.visible, one.mean};
    if (one.excess() < least.excess()) least = one;
  }
  return least;
}

double nanoseconds_of_a_cycle() {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const u64 first = begin();
  while (Clock::now() - start < std::chrono::milliseconds(50)) {
  }
  const u64 cycles = end() - first;
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count() /
         static_cast<double>(cycles);
}

int main(int argc, char** argv) {
  std::set<std::string> isas;
  std::size_t calls = 20000;
  bool planted = false;
  for (int i = 1; i < argc; i++) {
    if (std::strcmp(argv[i], "--planted") == 0)
      planted = true;
    else if (std::strtoull(argv[i], nullptr, 10) > 0)
      calls = std::strtoull(argv[i], nullptr, 10);
    else
      isas.insert(argv[i]);
  }
  const double nanoseconds = nanoseconds_of_a_cycle();
  for (const Case& each : planted ? planted_cases() : all_cases()) {
    if (!isas.empty() && !isas.count(each.isa)) continue;
    const Verdict verdict = repeated(each, calls);
    std::printf("%s %s %.1f %.3f %.3f %.1f\n", each.kernel.c_str(), each.isa.c_str(), verdict.t,
                verdict.difference * nanoseconds, verdict.visible * nanoseconds,
                verdict.mean * nanoseconds);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace moiety::harness

int main(int argc, char** argv) { return moiety::harness::main(argc, argv); }
