// SPDX-License-Identifier: Apache-2.0
//
// The estimator of sampled traces on streams that we make up, thousands of seeded runs: sums are
// right on average, and the 95 % interval holds the truth in 93 to 97 % of runs.
#include "model/sampling.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

using namespace tidemark;

namespace {

constexpr uint64_t kInterval = 512 << 10;

struct Stream {
  const char* name;
  std::vector<uint64_t> sizes;  // of the blocks that stay live; what is freed has no part in them
};

struct Outcome {
  double mean_error = 0;  // of the sum of bytes, in standard errors of the mean
  double mean_count_error = 0;
  double covered = 0;
};

// The countdown of a thread, as BPF has it: one draw for each sample.
class Thread {
 public:
  Thread(uint64_t seed, uint64_t interval) : random_(seed) { change(interval); }

  void change(uint64_t interval) {
    interval_ = interval;
    draw();
  }
  [[nodiscard]] bool samples(uint64_t size) {
    const uint64_t length = std::max<uint64_t>(size, 1);
    if (length <= left_) {
      left_ -= length;
      return false;
    }
    draw();
    return true;
  }
  [[nodiscard]] uint64_t interval() const { return interval_; }

 private:
  void draw() {
    left_ = static_cast<uint64_t>(std::exponential_distribution<>()(random_) *
                                  static_cast<double>(interval_));
  }
  std::mt19937_64 random_;
  uint64_t interval_ = 0;
  uint64_t left_ = 0;
};

template <typename BeforeBlock>
Outcome simulate(const Stream& stream, int runs, BeforeBlock before_block) {
  double true_bytes = 0;
  for (const uint64_t size : stream.sizes) true_bytes += static_cast<double>(size);
  double sum = 0, square = 0, counts = 0, count_squares = 0;
  int covered = 0;
  for (int run = 0; run < runs; ++run) {
    Thread thread(static_cast<uint64_t>(run) * 7919 + 1, kInterval);
    double bytes = 0, count = 0, variance = 0;
    for (std::size_t at = 0; at < stream.sizes.size(); ++at) {
      before_block(thread, at);
      // Churn in between, as in a server: it moves the countdown on and leaves nothing.
      (void)thread.samples(1000);
      if (!thread.samples(stream.sizes[at])) continue;
      const model::SampleWeight weight = model::weigh_sample(stream.sizes[at], thread.interval());
      bytes += weight.bytes;
      count += weight.count;
      variance += weight.variance;
    }
    const auto half = static_cast<double>(model::half_width_95(bytes, variance, kInterval));
    covered += std::abs(bytes - true_bytes) <= half;
    sum += bytes;
    square += bytes * bytes;
    counts += count;
    count_squares += count * count;
  }
  const auto errors_off = [runs](double total, double squares, double truth) {
    const double mean = total / runs;
    const double spread = std::sqrt(std::max(squares / runs - mean * mean, 0.0) / runs);
    return spread == 0 ? std::abs(mean - truth) : (mean - truth) / spread;
  };
  return {.mean_error = errors_off(sum, square, true_bytes),
          .mean_count_error =
              errors_off(counts, count_squares, static_cast<double>(stream.sizes.size())),
          .covered = static_cast<double>(covered) / runs};
}

Stream same_sizes(const char* name, uint64_t size, uint64_t total_bytes) {
  return {name, std::vector<uint64_t>(total_bytes / size, size)};
}

Stream mixed_sizes(uint64_t seed, std::size_t blocks) {
  Stream stream{"16 B to 1 MB", {}};
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<> exponent(4, 20);
  for (std::size_t i = 0; i < blocks; ++i)
    stream.sizes.push_back(static_cast<uint64_t>(std::exp2(exponent(random))));
  return stream;
}

}  // namespace

TEST_CASE("sampling: unbiased, and the interval covers 93 to 97 %, whatever the sizes are") {
  const Stream streams[] = {same_sizes("4 KiB", 4 << 10, 32 << 20),
                            same_sizes("64 KiB", 64 << 10, 32 << 20),
                            same_sizes("300 KiB", 300 << 10, 48 << 20),
                            same_sizes("1 KiB", 1 << 10, 12 << 20),
                            mixed_sizes(1, 1000),
                            mixed_sizes(2, 400)};
  for (const Stream& stream : streams) {
    CAPTURE(stream.name);
    const Outcome outcome = simulate(stream, 4000, [](Thread&, std::size_t) {});
    CHECK(std::abs(outcome.mean_error) <= 3);
    CHECK(std::abs(outcome.mean_count_error) <= 3);
    CHECK(outcome.covered >= 0.93);
    CHECK(outcome.covered <= 0.97);
  }
}

TEST_CASE("sampling: several intervals in one run stay unbiased") {
  const Stream stream = mixed_sizes(3, 900);
  const Outcome outcome = simulate(stream, 4000, [](Thread& thread, std::size_t at) {
    if (at == 300) thread.change(kInterval / 8);
    if (at == 600) thread.change(kInterval * 2);
  });
  CHECK(std::abs(outcome.mean_error) <= 3);
  CHECK(std::abs(outcome.mean_count_error) <= 3);
  CHECK(outcome.covered >= 0.93);
  CHECK(outcome.covered <= 0.97);
}

TEST_CASE("sampling: each block is weighed by itself") {
  // A block of the interval's length is found with 1 - 1/e, one much larger always.
  CHECK(model::weigh_sample(kInterval, kInterval).count == doctest::Approx(1.5819767));
  const model::SampleWeight large = model::weigh_sample(kInterval * 40, kInterval);
  CHECK(large.bytes == doctest::Approx(kInterval * 40.0));
  CHECK(large.variance < 1);
  // A small one stands for the interval.
  const model::SampleWeight small = model::weigh_sample(16, kInterval);
  CHECK(small.bytes == doctest::Approx(kInterval + 8.0));
  CHECK(small.count == doctest::Approx((kInterval + 8.0) / 16));
  // The weight of the average size is another one than the average weight.
  const double both = small.bytes + large.bytes;
  const double of_average = 2 * model::weigh_sample((16 + kInterval * 40) / 2, kInterval).bytes;
  CHECK(both > of_average + kInterval / 2.0);
  // No size: no bytes, and one of very many.
  CHECK(model::weigh_sample(0, kInterval).bytes == 0);
  CHECK(model::weigh_sample(0, kInterval).count == doctest::Approx(kInterval + 0.5));
}

TEST_CASE("sampling: no interval is exact, no sample is not nothing") {
  const model::SampleWeight exact = model::weigh_sample(100, 0);
  CHECK(exact.bytes == 100);
  CHECK(exact.count == 1);
  CHECK(exact.variance == 0);
  CHECK(model::half_width_95(1e9, 0, 0) == 0);
  CHECK(model::half_width_95(0, 0, kInterval) == 3 * kInterval);
  CHECK(model::half_width_95(1e9, 0, kInterval) == 0);  // all of them so large that all were found
}
