#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/sdk.h"

namespace attribution {

/// What a pixel's relevance is, of those of its channels.
enum class OverChannels { sum, abs, max };

const std::vector<std::string>& over_channels_words();

/// Relevance of each place: N x P float64, P the pixels of an image or the elements of any other
/// value. Maps, N x C x h x w, are stretched to `height` x `width` (bilinear) when these are above
/// 0 and differ. `sum` is signed; `abs` sums sizes; `max` takes the largest size.
at::Tensor relevance_of(const at::Tensor& attributions, OverChannels over, std::int64_t height = 0,
                        std::int64_t width = 0);

/// The attributions that a metric compares, in the order of its list.
struct Compared {
  std::vector<std::string> names;
  std::vector<const microtome::ArtifactReader*> artifacts;

  /// Of the port "attributions".
  static Compared of(microtome::Context& context);
  /// Of one of them, for the samples of a batch; throws `microtome::Error` naming a sample with
  /// a NaN or an infinite value.
  at::Tensor rows(std::size_t number, const std::vector<std::string>& ids,
                  const std::string& tensor = "attributions") const;
  std::int64_t count() const { return static_cast<std::int64_t>(names.size()); }
};

/// The name of the floor that every metric has beside the methods.
inline constexpr const char* random_name = "random";

/// A row of random relevances for each sample of the batch, N x P, from its own stream. `draw`
/// tells several of them apart.
at::Tensor random_relevance(const microtome::Batch& batch, std::int64_t places, std::int64_t draw,
                            const microtome::Context& context);

/// A table of one row for each method (and the floor): the mean of `values` [N, methods], its
/// bootstrap interval over samples, and, when `floor` [N] is given, the mean difference from it
/// with a paired interval; the same as metrics called `name`, with the method in their details.
/// `title` and `caption` are those of the view.
struct ScoreTable {
  std::string name, title, caption;
  std::string unit;
};
void write_scores(const ScoreTable& table, const std::vector<std::string>& names,
                  const at::Tensor& values, const at::Tensor& floor, microtome::Context& context,
                  microtome::ArtifactWriter& writer);

/// Says the parameter `over`.
template <class Params>
void describe_over(microtome::StageSpec<Params>& spec) {
  spec.parameter("over", &Params::over)
      .choices(over_channels_words())
      .doc(
          "relevance of a pixel: the signed sum over its channels, the sum of sizes, or the "
          "largest size");
}

/// Says the ports of a metric that compares attributions.
template <class Params>
void describe_compared(microtome::StageSpec<Params>& spec) {
  spec.input("attributions", {microtome::kind::attributions})
      .many()
      .doc("what is judged: one stage, a matrix, or a list of stages over the same samples");
}

}  // namespace attribution
