#include <algorithm>

#include "microtome/sdk.h"

namespace {

using namespace microtome;

enum class Pool { none, mean, max, flatten, token };

/// `all`, `grid` or `random:k`.
struct Positions {
  enum class Kind { all, grid, random };
  Kind kind = Kind::all;
  std::int64_t count = 0;
};

Positions parse_positions(const std::string& text) {
  if (text == "all") return {};
  const auto colon = text.find(':');
  const std::string word = text.substr(0, colon);
  if (word != "grid" && word != "random")
    throw Error("\"" + text + "\" is none of all, grid:k, random:k");
  std::int64_t count = 0;
  try {
    count = colon == std::string::npos ? 0 : std::stoll(text.substr(colon + 1));
  } catch (const std::exception&) {
    count = 0;
  }
  if (count < 1 || count > 65536)
    throw Error("\"" + text + "\": say how many, such as " + word + ":4");
  return {word == "grid" ? Positions::Kind::grid : Positions::Kind::random, count};
}

struct Params {
  std::vector<HookPoint> layers;
  Pool pool = Pool::none;
  std::int64_t token = -1;
  std::string positions = "all";
};

/// The rows go to disk as they come; what is kept is what their dimensions are.
struct LayerAxes {
  std::vector<Axes> axes;  ///< by layer
};

/// Values at hook points, for each sample.
class Activations final : public StreamingStage<LayerAxes> {
 public:
  using Params = ::Params;

  explicit Activations(Params params)
      : params_(std::move(params)), positions_(parse_positions(params_.positions)) {}

  static void describe(StageSpec<Params>& spec) {
    spec.summary("Values at hook points of a model, for each sample.");
    spec.details(
        "One tensor a hook point, its rows in the order of the samples. Streams to disk: memory "
        "does not grow with the dataset. "
        "With positions the rows are samples x positions x channels, and `<hook point>.yx` holds "
        "where they were.");
    spec.input("model", {kind::model}).doc("the network");
    spec.input("data", {kind::dataset}).doc("the samples");
    spec.output("activations", kind::activations).doc("a tensor for each hook point");
    spec.parameter("layers", &Params::layers)
        .required()
        .of("model")
        .doc("hook points; a selector takes a part of the value");
    spec.parameter("pool", &Params::pool)
        .choices({"none", "mean", "max", "flatten", "token"})
        .doc(
            "none keeps the value; mean and max over places (all axes but channels and heads); "
            "flatten makes a vector; token takes one token");
    spec.parameter("token", &Params::token).doc("which token pool: token takes; -1 is the last");
    spec.parameter("positions", &Params::positions)
        .doc(
            "for maps (axes c, y, x in any order) with pool: none: all, random:k (k places a "
            "sample, without repetition), grid:k (k x k places, evenly spread)");
  }

  void plan(const PlanInputs& inputs, Plan& plan) const override {
    plan.read = Read{.data = "data", .model = "model", .capture = params_.layers, .forward = false};
    plan.tolerates_reduced_precision = true;
    plan.random = positions_.kind == Positions::Kind::random;
    OutputPlan output{"activations", kind::activations, {}};
    if (params_.layers.empty()) inputs.problems().add({}, "layers: name one hook point at least");
    for (const HookPoint& layer : params_.layers) {
      const auto info = inputs.resolve("model", layer);
      if (!info) continue;
      TensorInfo tensor{layer.text(), info->type, {}, true};
      if (!info->shape.empty()) {
        try {
          const at::Tensor sample = at::zeros(info->shape, info->type);
          const Selector parts{layer.selector.axes, {}};
          at::Tensor value = select(sample, parts, info->axes);
          // Along a direction there is one number in the channels' place.
          if (layer.selector.direction)
            value = value.select(
                axis_dimension("c", remaining_axes(info->axes, parts), value.dim()), 0);
          const Rows rows = pooled({value, remaining_axes(info->axes, layer.selector)});
          tensor.shape = rows.value.sizes().vec();
          tensor.axes = rows.axes;
          if (positions_.kind != Positions::Kind::all) {
            tensor.shape = {1, place_count(rows.value), rows.value.size(1)};
            tensor.axes = {"token", "c"};
          }
          tensor.shape[0] = -1;
        } catch (const Error& error) {
          inputs.problems().add(layer.location, error.what());
        }
      }
      output.tensors.push_back(std::move(tensor));
    }
    plan.outputs.push_back(std::move(output));
  }

  void batch(LayerAxes& state, Chunk& chunk, Context& context) const override {
    state.axes.resize(params_.layers.size());
    for (std::size_t i = 0; i < params_.layers.size(); ++i) {
      const Rows rows = pooled({chunk.recording->captured[i], chunk.recording->axes[i]});
      const at::Tensor& value = rows.value;
      const std::string name = params_.layers[i].text();
      state.axes[i] = positions_.kind == Positions::Kind::all ? rows.axes : Axes{"token", "c"};
      if (positions_.kind == Positions::Kind::all) {
        chunk.emit("activations", name, value, true);
        continue;
      }
      const at::Tensor places = choose_places(value, chunk, context);
      const at::Tensor flat = value.flatten(2).transpose(1, 2);
      const at::Tensor index =
          places.to(value.device()).unsqueeze(2).expand({-1, -1, value.size(1)});
      chunk.emit("activations", name, flat.gather(1, index), true);
      chunk.emit(
          "activations", name + ".yx",
          at::stack({places.floor_divide(value.size(3)), places.remainder(value.size(3))}, 2));
    }
  }

  void merge(LayerAxes& earlier, LayerAxes&& later) const override {
    if (earlier.axes.empty()) earlier = std::move(later);
  }

  void finish(LayerAxes& state, Context& context) const override {
    ArtifactWriter& writer = context.output("activations");
    Value layers = Value::list();
    for (const HookPoint& layer : params_.layers) layers.push_back(layer.text());
    writer.metadata("layers", std::move(layers));
    writer.metadata("positions", Value(params_.positions));
    Value all = Value::map();
    for (std::size_t i = 0; i < state.axes.size(); ++i) {
      Value axes = Value::list();
      for (const std::string& axis : state.axes[i]) axes.push_back(axis);
      all.set(params_.layers[i].text(), std::move(axes));
    }
    writer.metadata("axes", std::move(all));
  }

 private:
  struct Rows {
    at::Tensor value;  ///< N first
    Axes axes;         ///< after N
  };

  /// Pools over places; N stays first.
  Rows pooled(const Rows& rows) const {
    const at::Tensor& value = rows.value;
    switch (params_.pool) {
      case Pool::none:
        break;
      case Pool::flatten:
        return {value.flatten(1), {"c"}};
      case Pool::token: {
        const std::int64_t dimension = axis_dimension("token", rows.axes, value.dim());
        const std::int64_t size = value.size(dimension);
        if (params_.token >= size || params_.token < -size)
          throw Error("there is no token " + std::to_string(params_.token) + " among " +
                      std::to_string(size));
        Axes left = rows.axes;
        left.erase(left.begin() + dimension - 1);
        return {value.select(dimension, params_.token), left};
      }
      case Pool::mean:
      case Pool::max: {
        if (value.dim() < 3) return rows;
        const std::vector<std::int64_t> places = place_dimensions(rows.axes);
        if (places.empty()) return rows;
        Axes left;
        for (const std::string& axis : rows.axes) {
          if (axis == "c" || axis == "head") left.push_back(axis);
        }
        return {params_.pool == Pool::mean ? value.mean(places) : value.amax(places), left};
      }
    }
    if (positions_.kind == Positions::Kind::all) return rows;
    if (rows.axes.size() != 3 || !has_axis("c", rows.axes) || !has_axis("y", rows.axes) ||
        !has_axis("x", rows.axes)) {
      throw Error("positions: " + params_.positions +
                  " needs a map, with the axes c, y and x; those of this value are " +
                  (rows.axes.empty() ? "not known" : axes_text(rows.axes)));
    }
    const at::Tensor map = channels_first(value, rows.axes);
    const bool turned = axis_dimension("y", rows.axes, 4) > axis_dimension("x", rows.axes, 4);
    return {turned ? map.transpose(2, 3) : map, {"c", "y", "x"}};
  }

  std::int64_t place_count(const at::Tensor& value) const {
    const std::int64_t height = value.size(2), width = value.size(3);
    if (positions_.kind == Positions::Kind::grid)
      return std::min(positions_.count, height) * std::min(positions_.count, width);
    return std::min(positions_.count, height * width);
  }

  /// Places y * W + x for each sample, [N, k].
  at::Tensor choose_places(const at::Tensor& value, const Chunk& chunk, Context& context) const {
    const std::int64_t rows = value.size(0), height = value.size(2), width = value.size(3);
    if (positions_.kind == Positions::Kind::grid) {
      const auto spread = [](std::int64_t count, std::int64_t size) {
        count = std::min(count, size);
        // The middles of `count` equal parts.
        return ((at::arange(count, at::kDouble) + 0.5) *
                (static_cast<double>(size) / static_cast<double>(count)))
            .floor()
            .to(at::kLong);
      };
      const at::Tensor y = spread(positions_.count, height), x = spread(positions_.count, width);
      return (y.unsqueeze(1) * width + x.unsqueeze(0))
          .reshape({1, -1})
          .expand({rows, -1})
          .contiguous();
    }
    const std::int64_t count = place_count(value);
    std::vector<at::Tensor> all;
    for (std::int64_t row = 0; row < rows; ++row) {
      // A stream a sample, so that places do not depend on chunks.
      at::Generator generator =
          context.generator(static_cast<std::uint64_t>(chunk.batch.position(row)));
      all.push_back(std::get<0>(at::randperm(height * width, generator).slice(0, 0, count).sort()));
    }
    return at::stack(all);
  }

  Params params_;
  Positions positions_;
};

}  // namespace

MICROTOME_PLUGIN("activations", "0.1.0", microtome::stage<Activations>("activations"))
