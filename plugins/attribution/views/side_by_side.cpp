#include "views/side_by_side.h"

#include <algorithm>

namespace attribution {

using namespace microtome;

void SideBySide::describe(StageSpec<Params>& spec) {
  spec.summary("The attributions of several methods on the same samples, side by side.");
  spec.details("Maps of another size are stretched to the images (bilinear).");
  spec.input("data", {kind::dataset}).doc("the images that were explained");
  describe_compared(spec);
  spec.output("maps", kind::attributions)
      .doc("`maps`, method x sample x 1 x height x width, and `images`");
  spec.parameter("count", &Params::count).range(1, 64).doc("how many samples are shown, the first");
  describe_over(spec);
}

void SideBySide::plan(const PlanInputs& inputs, Plan& plan) const {
  if (const DatasetInfo* data = inputs.dataset("data");
      data != nullptr && data->images() == nullptr)
    inputs.problems().add({}, "the dataset has no images of one size");
  plan.outputs.push_back({"maps",
                          kind::attributions,
                          {{"maps", at::kFloat, {-1, -1, 1, -1, -1}, false},
                           {"images", at::kFloat, {-1, -1, -1, -1}, false}}});
}

void SideBySide::run(Context& context) const {
  const Compared compared = Compared::of(context);
  const Dataset& data = context.dataset("data");
  const FieldInfo* field = data.info().images();
  const Batch batch = data.load(positions_between(0, std::min(params_.count, data.info().size)));
  const at::Tensor& images = batch.fields.at(field->name);
  const std::int64_t height = images.size(2), width = images.size(3);
  std::vector<at::Tensor> maps;
  Value::List names;
  for (std::size_t i = 0; i < compared.names.size(); ++i) {
    context.check_cancelled();
    const at::Tensor relevance =
        relevance_of(compared.rows(i, batch.ids), params_.over, height, width);
    if (relevance.size(1) != height * width)
      throw Error("attributions \"" + compared.names[i] + "\" are not of images");
    maps.push_back(relevance.view({-1, 1, height, width}).to(at::kFloat));
    names.emplace_back(compared.names[i]);
  }
  ArtifactWriter& writer = context.output("maps");
  writer.tensor("maps", at::stack(maps));
  writer.append_ids(batch.ids);
  View view{View::Type::heat_map,
            "Side by side",
            "Each row is a method, each column an image; red adds to the score, blue takes away.",
            {"maps"},
            Value()};
  view.options.set("rows", Value(std::move(names)));
  writer.tensor("images", field->pixels(images));
  view.options.set("images", "images");
  writer.view(std::move(view));
}

}  // namespace attribution
