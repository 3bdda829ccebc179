#include "ablate.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>

namespace ablate {

using namespace microtome;

namespace {

constexpr std::uint64_t donor_stream = 0;
constexpr std::int64_t chunks_at_once = 64;  ///< that are computed before their rows are written
constexpr std::size_t most_rows = 64;        ///< of the table, and metrics

HookPoint whole(HookPoint hook) {
  hook.selector = {};
  return hook;
}

/// How many entries an axis of the value has.
std::int64_t axis_size(const HookPointInfo& info, const std::string& axis) {
  if (info.shape.empty())
    throw Error("the shape at \"" + info.name +
                "\" is not known, so `each` can't be; give the model input: {size: ...}");
  if (axis == "unit") {
    return std::accumulate(info.shape.begin() + 1, info.shape.end(), std::int64_t{1},
                           std::multiplies<>());
  }
  const std::int64_t dimension =
      axis_dimension(axis, info.axes, static_cast<std::int64_t>(info.shape.size()));
  return info.shape.at(static_cast<std::size_t>(dimension));
}

std::string site_text(const std::vector<HookPoint>& site) {
  std::string text;
  for (const HookPoint& hook : site) text += (text.empty() ? "" : " + ") + hook.text();
  return text;
}

/// Sums over samples of one column of effects.
struct Sums {
  double effect = 0, square = 0;
  std::int64_t changed = 0;
};

}  // namespace

/// What all chunks share.
struct Ablate::Work {
  const Model& model;
  const Dataset& data;
  Context& context;
  std::vector<Site> sites;
  std::vector<HookPoint> places;                   ///< whole values, each once
  std::vector<HookPoint> cuts;                     ///< those among them that runs go on from
  std::vector<std::optional<std::size_t>> cut_of;  ///< by site; nothing: it runs whole
  std::vector<at::Tensor> rows;      ///< by place: [1, ...] for every sample; undefined: not known
  std::vector<std::int64_t> donors;  ///< by sample
  Directions directions;

  /// The place of the hook's value in a list; its end when it is not there.
  static std::size_t place_in(const std::vector<HookPoint>& list, const HookPoint& hook) {
    const auto found = std::find_if(list.begin(), list.end(), [&](const HookPoint& place) {
      return place.site() == hook.site();
    });
    return static_cast<std::size_t>(found - list.begin());
  }
};

/// Of a chunk.
struct Ablate::Effects {
  std::vector<std::string> ids;
  at::Tensor clean;    ///< [n]
  at::Tensor effect;   ///< [n, sites]
  at::Tensor changed;  ///< [n, sites] bool: another class is predicted; undefined without classes
  at::Tensor outputs;  ///< [n, sites, ...]
};

void Ablate::describe(StageSpec<Params>& spec) {
  spec.summary("What a score loses when values of the network are replaced, one place at a time.");
  spec.details(
      "Each sample runs once as it is; from the places that are replaced, only what comes after is "
      "computed again. The effect is the score with the replacement less the clean score, so that "
      "replacing a value by itself gives exactly 0. The class of the target is that of the clean "
      "run.");
  spec.paper(
      "Morcos, Barrett, Rabinowitz, Botvinick 2018, On the importance of single directions for "
      "generalization (arXiv 1803.06959)");
  spec.paper(
      "Chan et al. 2022, Causal scrubbing, for resample (replacing by the value on another "
      "sample)");
  spec.input("model", {kind::model}).doc("the network");
  spec.input("data", {kind::dataset}).doc("the samples");
  spec.output("effects", kind::metrics)
      .doc("`effect` [N, places], `clean` [N], and for each place `mean_effect`, `low`, `high`");
  spec.parameter("at", &Params::at)
      .required()
      .of("model")
      .doc("where: each in turn; a selector takes a part of the value");
  spec.parameter("each", &Params::each)
      .doc("an axis (c, head, token, unit): each of its entries in turn, at each place");
  spec.parameter("together", &Params::together).doc("all places in one run, not each in turn");
  spec.parameter("with", &Params::with)
      .choices({"zero", "mean", "resample", "value"})
      .doc(
          "what stands in the value's place: 0, its mean over the samples, its value on another "
          "sample at random, or the number `value`");
  spec.parameter("value", &Params::value).doc("for with: value");
  spec.parameter("target", &Params::target).doc("the score that is measured");
  spec.parameter("outputs", &Params::outputs)
      .doc("also write the change of the model's whole output, `outputs` [N, places, ...]");
}

void Ablate::plan(const PlanInputs& inputs, Plan& plan) const {
  plan.random = params_.with == Replacement::resample;
  Problems& problems = inputs.problems();
  if (params_.at.empty()) problems.add({}, "at: name one hook point at least");
  if (params_.together && !params_.each.empty())
    problems.add({}, "together and each exclude each other");
  std::int64_t count = 0;
  std::vector<HookPoint> places;
  for (const HookPoint& hook : params_.at) {
    const auto info = inputs.resolve("model", hook);
    if (!info) continue;
    if (!info->tensor || !c10::isFloatingType(info->type))
      problems.add(hook.location, "the value at \"" + hook.text() + "\" is no real number");
    if (Work::place_in(places, hook) == places.size()) {
      places.push_back(whole(hook));
      // Of all places at once: what runs go on from, or what is averaged before; what donors give.
      const auto value = inputs.resolve("model", places.back());
      const bool own = value && (is_cut(*value) || params_.with == Replacement::mean);
      if (own) plan.bytes_per_sample += value->bytes();
      if (value && params_.with == Replacement::resample) plan.bytes_per_sample += value->bytes();
    }
    if (hook.selector.direction)
      problems.add(hook.location, "a direction can't be replaced yet; name the whole value");
    if (!params_.each.empty() && !hook.selector.empty())
      problems.add(hook.location, "with `each` a place has no selector of its own");
    if (params_.each.empty()) {
      ++count;
      continue;
    }
    try {
      count += axis_size(*info, params_.each);
    } catch (const Error& error) {
      problems.add(hook.location, error.what());
    }
  }
  inputs.check_target("model", "data", params_.target);
  if (params_.target.what == Target::What::kl)
    problems.add(params_.target.location,
                 "kl compares with another model, and this stage has no second one; take a class, "
                 "a unit or the loss");
  if (params_.together) count = 1;
  OutputPlan effects{"effects", kind::metrics, {}};
  effects.tensors = {{"effect", at::kFloat, {-1, count}, true},
                     {"clean", at::kFloat, {-1}, true},
                     {"mean_effect", at::kFloat, {count}, false},
                     {"low", at::kFloat, {count}, false},
                     {"high", at::kFloat, {count}, false}};
  plan.outputs.push_back(std::move(effects));
}

bool Ablate::is_cut(const HookPointInfo& place) const {
  // Several places at once, and places in branches or loops, run whole; so does a score of a value
  // inside, which may lie before a cut.
  return !params_.together && !params_.target.hook && place.can_cut;
}

std::vector<Ablate::Site> Ablate::sites(const Model& model) const {
  if (params_.together) return {params_.at};
  std::vector<Site> sites;
  for (const HookPoint& hook : params_.at) {
    if (params_.each.empty()) {
      sites.push_back({hook});
      continue;
    }
    const std::int64_t count = axis_size(model.resolve(hook), params_.each);
    for (std::int64_t i = 0; i < count; ++i) {
      sites.push_back({hook});
      sites.back()[0].selector.axes = {{params_.each, {i}}};
    }
  }
  return sites;
}

std::vector<at::Tensor> Ablate::rows(const Work& work) const {
  if (params_.with == Replacement::mean) return means(work);
  std::vector<at::Tensor> rows(work.places.size());
  if (params_.with == Replacement::resample) return rows;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const HookPointInfo info = work.model.resolve(work.places[i]);
    if (info.shape.empty() || info.shape[0] != 1) continue;
    rows[i] =
        at::full(info.shape, number(), at::TensorOptions(info.type).device(work.context.device()));
  }
  return rows;
}

std::vector<at::Tensor> Ablate::means(const Work& work) const {
  const std::int64_t samples = work.data.info().size;
  const auto all = chunks_of(samples, work.context.chunk_size());
  const auto chunks = static_cast<std::int64_t>(all.size());
  struct Sum {
    at::Tensor value;
    at::ScalarType type = at::kFloat;  ///< of what is summed
  };
  std::vector<Sum> sums(work.places.size());
  for (std::int64_t block = 0; block < chunks; block += chunks_at_once) {
    const std::int64_t count = std::min(chunks_at_once, chunks - block);
    std::vector<std::vector<Sum>> parts(static_cast<std::size_t>(count));
    work.context.parallel_for(count, [&](std::int64_t k) {
      const Batch batch = work.data.load(all[static_cast<std::size_t>(block + k)]);
      Pass pass;
      pass.capture = work.places;
      pass.outputs = false;
      const Recording recording = work.model.run(work.context.bind("model", batch), pass);
      for (std::size_t i = 0; i < work.places.size(); ++i) {
        const at::Tensor& value = recording.captured[i];
        demand_finite(
            value, batch.ids,
            "the value at \"" + work.places[i].text() + "\", of which the mean is taken,");
        parts[static_cast<std::size_t>(k)].push_back(
            {value.to(at::kDouble).sum(0, /*keepdim=*/true), value.scalar_type()});
      }
    });
    // In the order of the chunks, so that the sum does not depend on who was first.
    for (const auto& part : parts) {
      for (std::size_t i = 0; i < sums.size(); ++i) {
        const at::Tensor& so_far = sums[i].value;
        sums[i] = {so_far.defined() ? so_far + part[i].value : part[i].value, part[i].type};
      }
    }
  }
  std::vector<at::Tensor> means;
  for (const Sum& sum : sums)
    means.push_back((sum.value / static_cast<double>(samples)).to(sum.type));
  return means;
}

Ablate::Effects Ablate::effects(const Work& work,
                                const std::vector<std::int64_t>& positions) const {
  const Batch batch = work.data.load(positions);
  const NamedTensors inputs = work.context.bind("model", batch);
  Pass plain;
  if (params_.target.hook) plain.capture = {*params_.target.hook};
  plain.directions = work.directions;
  for (const HookPoint& cut : work.cuts) plain.cuts.push_back({cut});
  const Recording clean = work.model.run(inputs, plain);
  const at::Tensor direction =
      params_.target.direction ? work.context.direction(*params_.target.direction) : at::Tensor();
  const TargetScore target(params_.target, clean, batch, direction);
  const bool on_outputs = target.capture().empty();

  std::vector<at::Tensor> donated;
  std::vector<std::string> donor_ids;
  if (params_.with == Replacement::resample) {
    std::vector<std::int64_t> donors;
    donors.reserve(positions.size());
    for (const std::int64_t position : positions)
      donors.push_back(work.donors[static_cast<std::size_t>(position)]);
    Pass pass;
    pass.capture = work.places;
    pass.outputs = false;
    const Batch from = work.data.load(donors);
    donor_ids = from.ids;
    donated = work.model.run(work.context.bind("model", from), pass).captured;
  }
  const auto replacing = [&](const HookPoint& hook) -> Edit {
    const std::size_t place = Work::place_in(work.places, hook);
    const at::Tensor& value =
        params_.with == Replacement::resample ? donated[place] : work.rows[place];
    if (!value.defined())
      return {hook, [this](const at::Tensor& part) { return at::full_like(part, number()); }};
    if (hook.selector.empty()) return {hook, {}, value};
    return {hook, [value, hook, axes = work.model.resolve(whole(hook)).axes](const at::Tensor&) {
              return select(value, hook.selector, axes);
            }};
  };

  Effects result;
  result.ids = batch.ids;
  result.clean = target.score(clean).to(at::kFloat).cpu();
  demand_finite(result.clean, batch.ids, "the target's score");
  std::vector<at::Tensor> effect, changed, outputs;
  const bool has_classes = on_outputs && clean.output(params_.target.output).dim() == 2;
  for (std::size_t s = 0; s < work.sites.size(); ++s) {
    work.context.check_cancelled();
    Pass pass;
    pass.capture = target.capture();
    pass.directions = work.directions;
    for (const HookPoint& hook : work.sites[s]) pass.edits.push_back(replacing(hook));
    const std::optional<std::size_t> cut = work.cut_of[s];
    const Recording patched =
        cut ? work.model.resume(*clean.snapshots[*cut], pass) : work.model.run(inputs, pass);
    const at::Tensor score = target.score(patched).to(at::kFloat).cpu();
    if (!donated.empty() && first_not_finite(score)) {
      // Then it is the donor that is to be looked at.
      for (const HookPoint& hook : work.sites[s])
        demand_finite(donated[Work::place_in(work.places, hook)], donor_ids,
                      "the value at \"" + whole(hook).text() +
                          "\", which takes the place of another sample's,");
    }
    demand_finite(score, batch.ids,
                  "the target's score with " + site_text(work.sites[s]) + " replaced");
    effect.push_back(score - result.clean);
    if (has_classes) {
      changed.push_back((patched.output(params_.target.output).argmax(1) !=
                         clean.output(params_.target.output).argmax(1))
                            .cpu());
    }
    if (params_.outputs)
      outputs.push_back(
          (patched.output(params_.target.output) - clean.output(params_.target.output)).cpu());
  }
  result.effect = at::stack(effect, 1);
  if (has_classes) result.changed = at::stack(changed, 1);
  if (params_.outputs) result.outputs = at::stack(outputs, 1);
  return result;
}

void Ablate::run(Context& context) const {
  const Model& model = context.model("model");
  const Dataset& data = context.dataset("data");
  const std::int64_t samples = data.info().size, size = context.chunk_size();
  const auto all = chunks_of(samples, size);
  const auto chunks = static_cast<std::int64_t>(all.size());
  Work work{model, data, context, sites(model), {}, {}, {}, {}, {}, context.directions()};
  for (const HookPoint& hook : params_.at) {
    if (Work::place_in(work.places, hook) < work.places.size()) continue;
    work.places.push_back(whole(hook));
    if (is_cut(model.resolve(whole(hook)))) work.cuts.push_back(whole(hook));
  }
  for (const Site& site : work.sites) {
    const std::size_t cut = Work::place_in(work.cuts, site[0]);
    work.cut_of.push_back(cut < work.cuts.size() ? std::optional(cut) : std::nullopt);
  }
  work.rows = rows(work);
  if (params_.with == Replacement::resample) {
    if (samples < 2) throw Error("with: resample needs two samples at least");
    work.donors = random_donors(samples, context.generator(donor_stream));
  }

  ArtifactWriter& writer = context.output("effects");
  std::vector<Sums> sums(work.sites.size());
  bool has_classes = false;
  for (std::int64_t block = 0; block < chunks; block += chunks_at_once) {
    const std::int64_t count = std::min(chunks_at_once, chunks - block);
    std::vector<Effects> parts(static_cast<std::size_t>(count));
    context.parallel_for(count, [&](std::int64_t k) {
      parts[static_cast<std::size_t>(k)] = effects(work, all[static_cast<std::size_t>(block + k)]);
    });
    for (const Effects& part : parts) {
      writer.append("effect", part.effect);
      writer.append("clean", part.clean);
      if (part.outputs.defined()) writer.append("outputs", part.outputs);
      writer.append_ids(part.ids);
      const at::Tensor exact = part.effect.to(at::kDouble);
      const at::Tensor sum = exact.sum(0), square = exact.square().sum(0);
      has_classes = part.changed.defined();
      const at::Tensor changed = has_classes ? part.changed.sum(0) : at::Tensor();
      for (std::size_t s = 0; s < sums.size(); ++s) {
        const auto at = static_cast<std::int64_t>(s);
        sums[s].effect += sum[at].item<double>();
        sums[s].square += square[at].item<double>();
        if (has_classes) sums[s].changed += changed[at].item<std::int64_t>();
      }
    }
    context.progress(std::min((block + count) * size, samples), samples);
  }

  std::vector<double> mean, low, high;
  Value names = Value::list();
  for (std::size_t s = 0; s < sums.size(); ++s) {
    const auto interval = mean_interval(sums[s].effect, sums[s].square, samples);
    mean.push_back(sums[s].effect / static_cast<double>(samples));
    low.push_back(interval ? interval->low : mean.back());
    high.push_back(interval ? interval->high : mean.back());
    names.push_back(site_text(work.sites[s]));
  }
  writer.tensor("mean_effect", at::tensor(mean).to(at::kFloat));
  writer.tensor("low", at::tensor(low).to(at::kFloat));
  writer.tensor("high", at::tensor(high).to(at::kFloat));
  writer.metadata("places", names);
  writer.metadata("target", Value(params_.target.text()));

  // The largest effects, in the order of the places.
  std::vector<std::size_t> shown(sums.size());
  std::iota(shown.begin(), shown.end(), std::size_t{0});
  std::stable_sort(shown.begin(), shown.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(mean[a]) > std::abs(mean[b]);
  });
  shown.resize(std::min(shown.size(), most_rows));
  std::sort(shown.begin(), shown.end());
  Value::List rows;
  for (const std::size_t s : shown) {
    Metric metric;
    metric.name = "mean_effect";
    metric.value = mean[s];
    metric.unit = "score";
    metric.interval = mean_interval(sums[s].effect, sums[s].square, samples);
    metric.n = samples;
    metric.resampling_unit = "sample";
    metric.chance = 0;
    metric.null_description = "the value replaced by itself";
    metric.details.set("at", site_text(work.sites[s]));
    writer.metric(metric);
    Value::List row{Value(site_text(work.sites[s])), Value(mean[s]), Value(low[s]), Value(high[s])};
    if (has_classes)
      row.emplace_back(static_cast<double>(sums[s].changed) / static_cast<double>(samples));
    rows.emplace_back(std::move(row));
  }
  std::vector<std::string> columns{"place", "mean effect", "low", "high"};
  if (has_classes) columns.emplace_back("predictions changed");
  if (sums.size() > 1) {
    View line{View::Type::line,
              "Mean effect",
              "Of replacing each place in turn on the score of the target, in the order of the "
              "places; 0 is no effect.",
              {"mean_effect"},
              Value()};
    line.options.set("x", "place");
    line.options.set("y", "change of the score");
    writer.view(std::move(line));
  }
  writer.view(table_view("Effect of each place", columns, std::move(rows),
                         shown.size() < sums.size()
                             ? "The places with the largest effects; intervals of the mean at 95 %."
                             : "Intervals of the mean at 95 %."));
}

}  // namespace ablate
