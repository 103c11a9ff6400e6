// A party's threads for kernels: one call's work, cut into ranges that run side by side.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "common.hpp"

namespace moiety {

// What a call has to do: `n` elements of about `cost` nanoseconds each. Ranges of it begin at
// multiples of `grain`.
struct Work {
  // Where every packed message is whole in bytes, and pads begin with a new key.
  static constexpr std::size_t kGrain = 512;

  std::size_t n;
  double cost;
  std::size_t grain = kGrain;
};

// `threads` threads, the caller's among them. The others are started by the first call that is cut,
// and sleep between calls; the caller wakes one of them, and each wakes the next as long as there
// is something to do. Calls of several callers do not wait for one another: the pool works for one
// at a time, the others do all their ranges themselves. So does everybody after `close`, and in a
// child of a fork, which has the pool but not its threads.
class Pool {
 public:
  // `hand_over`: nanoseconds from a thread's waking another to that one's first instruction.
  Pool(std::size_t threads, u64 hand_over);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Ends the threads, after the call that they are at.
  void close();

  // Calls `job(range)` for ranges that make up the work, in any order. A job must not throw:
  // arguments are checked, and memory is taken, before it.
  template <class Job>
  void share(const Work& work, const Job& job) {
    const std::size_t count = ranges(work);
    if (count == 1) return job(Range{0, work.n, 0});
    const auto part = [&](std::size_t i) noexcept {
      static_assert(noexcept(job(Range{})));
      const auto cut = [&](std::size_t at) {
        return at == count ? work.n : work.n * at / count / work.grain * work.grain;
      };
      job(Range{cut(i), cut(i + 1), i});
    };
    run({[](const void* context, std::size_t i) noexcept {
           (*static_cast<const decltype(part)*>(context))(i);
         },
         &part, static_cast<u32>(count)});
  }

  // In how many ranges the work is cut: some for each thread, so that one that wakes late does
  // less, but none that takes less than a hand-over.
  std::size_t ranges(const Work& work) const;

  // CPU seconds of all threads in ranges of calls that were cut, while `measured` is set.
  double seconds() const { return 1e-9 * static_cast<double>(nanoseconds_.load()); }
  std::atomic<bool> measured{false};

  const std::size_t threads;

 private:
  class Clock;
  struct Call {
    void (*run)(const void* context, std::size_t i) noexcept;
    const void* context;
    u32 count;
  };

  void run(const Call& call);
  bool take(u32& left);
  void finish(u32 left);
  void help();
  bool ready();
  bool forked() const;

  static constexpr u32 kClosed = ~u32{0};

  const double hand_over_;

  // Ranges that nobody has taken. Whoever takes one may read `call_`: it stays as it is until all
  // are done.
  alignas(64) std::atomic<u32> left_{0};
  alignas(64) std::atomic<u32> unfinished_{0};
  Call call_{};
  std::atomic<u64> nanoseconds_{0};
  std::mutex turn_;  // of the caller for whom the threads work
  bool closed_ = false;
  pid_t owner_ = 0;
  std::vector<std::thread> helpers_;
};

}  // namespace moiety
