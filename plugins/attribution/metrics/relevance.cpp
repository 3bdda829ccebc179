#include "metrics/relevance.h"

#include <limits>
#include <utility>

#include "result.h"

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
  const Value* axes = artifacts.at(number)->metadata().find("axes");
  if (tensor == "attributions" && axes != nullptr && axes->is_list() && values.dim() == 4) {
    Axes names;
    for (const Value& axis : axes->as_list()) names.push_back(axis.as_string());
    if (has_axis("c", names) && has_axis("y", names)) values = channels_first(values, names);
  }
  if (const auto found = first_not_finite(values))
    throw Error("attributions \"" + names[number] + "\" of sample \"" +
                ids.at(static_cast<std::size_t>(found->place[0])) +
                "\" hold a NaN or an infinite value (" + found->text(1) + ")");
  return values;
}

at::Tensor random_relevance(const Batch& batch, std::int64_t places, std::int64_t draw,
                            const Context& context) {
  constexpr std::int64_t most_draws = 1024;
  at::Tensor rows = at::empty({batch.size(), places}, at::kDouble);
  for (std::int64_t row = 0; row < batch.size(); ++row) {
    at::Generator generator =
        context.generator(static_cast<std::uint64_t>(batch.position(row) * most_draws + draw));
    rows[row].normal_(0, 1, generator);
  }
  return rows;
}

namespace {

/// Writes metrics of a table, each with a bootstrap interval over samples from its own stream.
class ScoreWriter {
 public:
  ScoreWriter(const ScoreTable& table, Context& context, ArtifactWriter& writer)
      : table_(table), context_(context), writer_(writer) {}

  /// The mean of `numbers` [N] as a metric. `floor` [N]: undefined for a difference, whose chance
  /// level is 0, as `null` says.
  Metric write(const std::string& name, const at::Tensor& numbers, const at::Tensor& floor,
               const std::string& null, const std::string& key, Value details) {
    Metric metric;
    metric.name = name;
    metric.value = numbers.mean().item<double>();
    metric.unit = table_.unit;
    metric.interval = bootstrap_interval(numbers, context_.generator(stream_++));
    metric.n = numbers.numel();
    metric.resampling_unit = "sample";
    if (!null.empty()) {
      metric.chance = floor.defined() ? floor.mean().item<double>() : 0;
      metric.null_description = null;
    }
    metric.details.set(key, std::move(details));
    writer_.metric(metric);
    return metric;
  }

 private:
  const ScoreTable& table_;
  Context& context_;
  ArtifactWriter& writer_;
  std::uint64_t stream_ = std::uint64_t{1} << 62;
};

/// Differences between each two methods, paired by sample, and a matrix of those that are told
/// apart from 0.
void write_differences(const ScoreTable& table, const std::vector<std::string>& names,
                       const at::Tensor& values, ScoreWriter& scores, ArtifactWriter& writer) {
  const auto count = static_cast<std::int64_t>(names.size());
  at::Tensor differences =
      at::full({count, count}, std::numeric_limits<float>::quiet_NaN(), at::kFloat);
  for (std::int64_t i = 0; i < count; ++i) {
    differences[i][i].fill_(0);
    for (std::int64_t j = 0; j < i; ++j) {
      const Metric less =
          scores.write(table.name + "_difference", values.select(1, i) - values.select(1, j), {},
                       "the same for both methods, paired by sample", "methods",
                       Value(Value::List{Value(names[static_cast<std::size_t>(i)]),
                                         Value(names[static_cast<std::size_t>(j)])}));
      if (less.interval->low <= 0 && less.interval->high >= 0) continue;
      differences[i][j].fill_(less.value);
      differences[j][i].fill_(-less.value);
    }
  }
  const std::string name = table.name + "_differences";
  writer.tensor(name, differences, /*allow_nan=*/true);
  Value::List labels;
  for (const std::string& method : names) labels.emplace_back(method);
  View matrix{View::Type::heat_map,
              table.title + ": method less method",
              "The method of the row less that of the column, paired by sample; empty where the "
              "bootstrap interval at 95 % holds 0.",
              {name},
              Value()};
  matrix.options.set("rows", Value(labels));
  matrix.options.set("columns", Value(labels));
  writer.view(std::move(matrix));
}

}  // namespace

void write_scores(const ScoreTable& table, const std::vector<std::string>& names,
                  const at::Tensor& values, const at::Tensor& floor, Context& context,
                  ArtifactWriter& writer) {
  ScoreWriter scores(table, context, writer);
  const at::Tensor all = values.to(at::kDouble);
  const at::Tensor random = floor.defined() ? floor.to(at::kDouble) : floor;
  Value::List rows;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const at::Tensor numbers = all.select(1, static_cast<std::int64_t>(i));
    const Metric raw = scores.write(
        table.name, numbers, random,
        random.defined() ? "random attribution of the same samples" : "", "method", names[i]);
    Value::List row{Value(names[i]), Value(raw.value), Value(raw.interval->low),
                    Value(raw.interval->high)};
    if (random.defined()) {
      const Metric less = scores.write(table.name + "_less_random", numbers - random, {},
                                       "the same as the random attribution's, paired by sample",
                                       "method", names[i]);
      for (const double number : {less.value, less.interval->low, less.interval->high})
        row.emplace_back(number);
    }
    rows.emplace_back(std::move(row));
  }
  std::vector<std::string> columns{"method", table.name, "low", "high"};
  if (random.defined()) {
    Value::List row{Value(random_name), Value(random.mean().item<double>())};
    while (row.size() < 7) row.emplace_back();
    rows.emplace_back(std::move(row));
    columns.insert(columns.end(), {"less random", "low ", "high "});
  }
  writer.view(table_view(table.title, std::move(columns), std::move(rows), table.caption));
  if (names.size() > 1) write_differences(table, names, all, scores, writer);
}

}  // namespace attribution
