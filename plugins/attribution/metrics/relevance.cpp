#include "metrics/relevance.h"

#include <optional>

namespace attribution {

using namespace microtome;

const std::vector<std::string>& over_channels_words() {
  static const std::vector<std::string> words = {"sum", "abs", "max"};
  return words;
}

at::Tensor relevance_of(const at::Tensor& attributions, OverChannels over, std::int64_t height,
                        std::int64_t width) {
  at::Tensor values = attributions.to(at::kDouble);
  if (values.dim() != 4) return values.flatten(1);
  switch (over) {
    case OverChannels::sum:
      values = values.sum(1, true);
      break;
    case OverChannels::abs:
      values = values.abs().sum(1, true);
      break;
    case OverChannels::max:
      values = values.abs().amax(1, true);
      break;
  }
  if (height > 0 && (values.size(2) != height || values.size(3) != width))
    values = at::upsample_bilinear2d(values, {height, width}, /*align_corners=*/false);
  return values.flatten(1);
}

Compared Compared::of(Context& context) {
  Compared compared;
  for (const ArtifactMember& member : context.members("attributions")) {
    compared.names.push_back(member.label());
    compared.artifacts.push_back(member.artifact);
  }
  return compared;
}

at::Tensor Compared::rows(std::size_t number, const std::vector<std::string>& ids,
                          const std::string& tensor) const {
  at::Tensor values;
  try {
    values = rows_of_samples(*artifacts.at(number), tensor, ids);
  } catch (const Error& error) {
    throw Error("attributions \"" + names[number] + "\": " + error.what());
  }
  const at::Tensor wrong = values.isfinite().logical_not().flatten(1).any(1);
  if (wrong.any().item<bool>()) {
    throw Error("attributions \"" + names[number] + "\" of sample \"" +
                ids.at(static_cast<std::size_t>(wrong.nonzero()[0].item<std::int64_t>())) +
                "\" hold a NaN or an infinite value");
  }
  return values;
}

at::Tensor random_relevance(const Batch& batch, std::int64_t places, std::int64_t draw,
                            const Context& context) {
  constexpr std::int64_t most_draws = 1024;
  at::Tensor rows = at::empty({batch.size(), places}, at::kDouble);
  for (std::int64_t row = 0; row < batch.size(); ++row) {
    at::Generator generator =
        context.generator(static_cast<std::uint64_t>((batch.first + row) * most_draws + draw));
    rows[row].normal_(0, 1, generator);
  }
  return rows;
}

void write_scores(const ScoreTable& table, const std::vector<std::string>& names,
                  const at::Tensor& values, const at::Tensor& floor, Context& context,
                  ArtifactWriter& writer) {
  constexpr std::uint64_t interval_streams = std::uint64_t{1} << 62;
  std::uint64_t stream = interval_streams;
  const auto metric_of = [&](const std::string& name, const std::string& method,
                             const at::Tensor& numbers, bool against_floor) {
    Metric metric;
    metric.name = name;
    metric.value = numbers.mean().item<double>();
    metric.unit = table.unit;
    metric.interval = bootstrap_interval(numbers, context.generator(stream++));
    metric.n = numbers.numel();
    metric.resampling_unit = "sample";
    if (against_floor) {
      metric.chance = 0;
      metric.null_description = "the same as the random attribution's, paired by sample";
    } else if (floor.defined()) {
      metric.chance = floor.mean().item<double>();
      metric.null_description = "random attribution of the same samples";
    }
    metric.details.set("method", method);
    writer.metric(metric);
    return metric;
  };
  Value::List rows;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const at::Tensor numbers = values.select(1, static_cast<std::int64_t>(i)).to(at::kDouble);
    const Metric raw = metric_of(table.name, names[i], numbers, false);
    Value::List row{Value(names[i]), Value(raw.value), Value(raw.interval->low),
                    Value(raw.interval->high)};
    if (floor.defined()) {
      const Metric less =
          metric_of(table.name + "_less_random", names[i], numbers - floor.to(at::kDouble), true);
      for (const double number : {less.value, less.interval->low, less.interval->high})
        row.emplace_back(number);
    }
    rows.emplace_back(std::move(row));
  }
  std::vector<std::string> columns{"method", table.name, "low", "high"};
  if (floor.defined()) {
    Value::List row{Value(random_name), Value(floor.to(at::kDouble).mean().item<double>())};
    while (row.size() < 7) row.emplace_back();
    rows.emplace_back(std::move(row));
    columns.insert(columns.end(), {"less random", "low ", "high "});
  }
  writer.view(table_view(table.title, std::move(columns), std::move(rows), table.caption));
}

}  // namespace attribution
