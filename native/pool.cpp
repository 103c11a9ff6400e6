#include "pool.hpp"

#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace moiety {
namespace {

// Times the hand-over, the least work that is cut.
constexpr std::size_t kWorth = 4;
// Ranges for each thread: who is woken late takes fewer.
constexpr std::size_t kPerThread = 4;
// Looks at what others are about to do, before sleeping until it is done.
constexpr int kLooks = 100;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

u64 cpu_nanoseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

}  // namespace

// Adds to a pool's nanoseconds those of the calling thread while this lives.
class Pool::Clock {
 public:
  explicit Clock(Pool& pool)
      : pool_(pool), running_(pool.measured.load(std::memory_order_relaxed)) {
    if (running_) started_ = cpu_nanoseconds();
  }
  ~Clock() {
    if (running_) pool_.nanoseconds_ += cpu_nanoseconds() - started_;
  }

 private:
  Pool& pool_;
  const bool running_;
  u64 started_ = 0;
};

Pool::Pool(std::size_t threads, u64 hand_over)
    : threads(threads), hand_over_(static_cast<double>(hand_over)) {}

Pool::~Pool() {
  close();
  // The parent's threads cannot be joined, nor even forgotten.
  if (!helpers_.empty()) new std::vector<std::thread>(std::move(helpers_));
}

void Pool::close() {
  if (forked()) return;
  const std::lock_guard<std::mutex> turn(turn_);
  closed_ = true;
  if (helpers_.empty()) return;
  left_.store(kClosed, std::memory_order_release);
  left_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
  helpers_.clear();
}

std::size_t Pool::ranges(const Work& work) const {
  const double hand_overs = static_cast<double>(work.n) * work.cost / hand_over_;
  if (threads == 1 || hand_overs < kWorth) return 1;
  const auto most = static_cast<std::size_t>(hand_overs);
  return std::max<std::size_t>(1, std::min({most, kPerThread * threads, work.n / work.grain}));
}

void Pool::run(const Call& call) {
  const std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
  if (!turn || !ready()) {
    const Clock clock(*this);
    for (u32 i = 0; i < call.count; i++) call.run(call.context, i);
    return;
  }
  call_ = call;
  unfinished_.store(call.count, std::memory_order_relaxed);
  left_.store(call.count, std::memory_order_release);
  left_.notify_one();
  u32 left;
  if (take(left)) finish(left);
  u32 others = unfinished_.load(std::memory_order_acquire);
  for (int looks = 0; others != 0; others = unfinished_.load(std::memory_order_acquire)) {
    if (++looks < kLooks) {
      relax();
    } else {
      unfinished_.wait(others, std::memory_order_acquire);
    }
  }
}

// Takes one of the ranges that are left; false where there is none.
bool Pool::take(u32& left) {
  left = left_.load(std::memory_order_relaxed);
  do {
    if (left == 0 || left == kClosed) return false;
  } while (!left_.compare_exchange_weak(left, left - 1, std::memory_order_acquire,
                                        std::memory_order_relaxed));
  return true;
}

// Runs the range that was taken when so many were left, and all that can be taken after it.
void Pool::finish(u32 left) {
  const Clock clock(*this);
  do {
    call_.run(call_.context, left - 1);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  } while (take(left));
}

void Pool::help() {
  for (;;) {
    left_.wait(0, std::memory_order_acquire);
    u32 left;
    if (take(left)) {
      if (left > 1) left_.notify_one();
      finish(left);
    } else if (left == kClosed) {
      return;
    }
  }
}

// Starts the threads where that was not done; false where there can be none.
bool Pool::ready() {
  if (closed_ || forked()) return false;
  if (helpers_.empty()) {
    owner_ = getpid();
    // More than there are processors would only be in each other's way.
    const std::size_t processors = std::max(2u, std::thread::hardware_concurrency());
    for (std::size_t i = 1; i < std::min(threads, processors); i++)
      helpers_.emplace_back([this] { help(); });
  }
  return true;
}

bool Pool::forked() const { return !helpers_.empty() && owner_ != getpid(); }

}  // namespace moiety
