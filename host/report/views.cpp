#include "host/report/views.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "host/report/charts.h"
#include "host/report/html.h"
#include "host/report/pictures.h"
#include "microtome/axes.h"
#include "microtome/error.h"

namespace microtome::host::report {
namespace {

constexpr std::int64_t most_images = 12;
constexpr std::int64_t most_points = 2000;

const Value* find_option(const Value& view, const char* name) {
  const Value* options = view.find("options");
  return options != nullptr && options->is_map() ? options->find(name) : nullptr;
}

std::string option(const Value& view, const char* name, const std::string& otherwise = {}) {
  const Value* value = find_option(view, name);
  return value != nullptr && value->is_string() ? value->as_string() : otherwise;
}

std::vector<std::string> words(const Value& view, const char* name) {
  std::vector<std::string> result;
  const Value* list = find_option(view, name);
  if (list == nullptr || !list->is_list()) return result;
  for (const Value& word : list->as_list()) {
    result.push_back(word.is_string()   ? word.as_string()
                     : word.is_number() ? number(word.as_number())
                                        : "");
  }
  return result;
}

const std::string& tensor_name(const Value& view) {
  const auto& names = view.at("tensors").as_list();
  if (names.empty()) throw Error("the view names no tensor");
  return names[0].as_string();
}

std::vector<double> numbers(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kDouble).contiguous().flatten();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

std::string cell(const Value& value) {
  if (value.is_string()) return escape(value.as_string());
  if (value.type() == Value::Type::integer) return std::to_string(value.as_integer());
  if (value.type() == Value::Type::number) return number(value.as_number());
  if (value.type() == Value::Type::boolean) return value.as_boolean() ? "yes" : "no";
  return "";
}

/// A long table is folded behind its number of rows.
std::string table(const Value& view) {
  constexpr std::size_t most_open_rows = 30;
  const auto& rows = view.at("options").at("rows").as_list();
  const bool folded = rows.size() > most_open_rows;
  std::string html =
      folded ? "<details><summary>" + std::to_string(rows.size()) + " rows</summary>" : "";
  html += "<div class=\"scroll\"><table><thead><tr>";
  for (const Value& column : view.at("options").at("columns").as_list())
    html += "<th>" + cell(column) + "</th>";
  html += "</tr></thead><tbody>";
  for (const Value& row : rows) {
    html += "<tr>";
    for (const Value& value : row.as_list())
      html += (value.is_number() ? "<td class=\"number\">" : "<td>") + cell(value) + "</td>";
    html += "</tr>";
  }
  return html + "</tbody></table></div>" + (folded ? "</details>" : "");
}

std::string line(const Value& view, const ArtifactReader& artifact) {
  at::Tensor values = artifact.tensor(tensor_name(view));
  if (values.dim() == 1) values = values.unsqueeze(0);
  if (values.dim() != 2) throw Error("a line needs numbers, or rows of them");
  const std::vector<std::string> names = words(view, "series");
  const Value* first = find_option(view, "first");
  const double start = first != nullptr ? first->as_number() : 0;
  std::vector<Series> series;
  for (std::int64_t row = 0; row < values.size(0); ++row) {
    const auto i = static_cast<std::size_t>(row);
    Series one{i < names.size() ? names[i] : std::to_string(row), {}, numbers(values[row])};
    for (std::size_t k = 0; k < one.y.size(); ++k) one.x.push_back(start + static_cast<double>(k));
    series.push_back(std::move(one));
  }
  return line_chart({view.at("title").as_string(), option(view, "x"), option(view, "y")}, series);
}

std::string scatter(const Value& view, const ArtifactReader& artifact) {
  at::Tensor values = artifact.tensor(tensor_name(view));
  values = values.reshape({-1, values.size(-1)});
  if (values.size(1) < 2) throw Error("a scatter needs two columns");
  const std::int64_t rows = values.size(0);
  // Chosen at random: rows at even steps may all be of one position of their samples.
  const bool is_thinned = rows > most_points;
  at::Tensor chosen;
  if (is_thinned) {
    constexpr std::uint64_t seed = 0;
    const at::Tensor order =
        at::randperm(rows, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kLong));
    chosen = std::get<0>(order.slice(0, 0, most_points).sort());
  }
  const auto thin = [&](const at::Tensor& all) {
    return is_thinned ? all.index_select(0, chosen) : all;
  };
  Points points{numbers(thin(values.select(1, 0))), numbers(thin(values.select(1, 1))), {}, {}};
  std::string note;
  if (is_thinned)
    note = "<p class=\"note\">" + std::to_string(most_points) + " of the " + std::to_string(rows) +
           " points are drawn, chosen at random.</p>";
  if (const std::string colour = option(view, "colour"); !colour.empty()) {
    at::Tensor groups = artifact.tensor(colour);
    groups = groups.repeat_interleave(rows / groups.numel(), 0);
    const at::Tensor thinned = thin(groups).to(at::kLong).contiguous();
    points.group.assign(thinned.data_ptr<std::int64_t>(),
                        thinned.data_ptr<std::int64_t>() + thinned.numel());
    points.group_names = words(view, "names");
  }
  return scatter_chart({view.at("title").as_string(), option(view, "x"), option(view, "y")},
                       points) +
         note;
}

std::string image_grid(const Value& view, const ArtifactReader& artifact) {
  at::Tensor all = artifact.tensor(tensor_name(view));
  if (all.dim() < 4) throw Error("images are [..., C, H, W]");
  const std::int64_t columns = all.size(-4);
  all = all.reshape({-1, columns, all.size(-3), all.size(-2), all.size(-1)});
  const auto rows = words(view, "rows"), captions = words(view, "captions");
  const int shown = all.size(-1) <= 40 ? 84 : all.size(-1) <= 80 ? 96 : 150;
  std::string html = "<div class=\"scroll\"><table class=\"grid\">";
  for (std::int64_t row = 0; row < all.size(0); ++row) {
    const auto r = static_cast<std::size_t>(row);
    html += "<tr><th>" + (r < rows.size() ? escape(rows[r]) : "") + "</th>";
    for (std::int64_t column = 0; column < columns; ++column) {
      const auto k = static_cast<std::size_t>(row * columns + column);
      const std::string caption = k < captions.size() ? captions[k] : "";
      html += "<td>" + photograph(to_rgb(all[row][column]), shown, caption) + "<br>" +
              escape(caption) + "</td>";
    }
    html += "</tr>";
  }
  return html + "</table></div>";
}

/// A number of a matrix whose largest is `largest`: what is small beside it is not worth its
/// digits.
std::string cell_number(double value, double largest) {
  const int decimals = 3 - static_cast<int>(std::ceil(std::log10(std::max(largest, 1e-300))));
  if (decimals < 1 || decimals > 5) return number(value);
  char text[40];
  std::snprintf(text, sizeof text, "%.*f", decimals, value);
  return text;
}

/// A matrix with a number in each cell, empty where it is none. Negative ones have another colour,
/// in all of the matrix that of what is below 0 in a map.
std::string matrix(const Value& view, const at::Tensor& values) {
  const at::Tensor numbers = values.to(at::kDouble), sizes = numbers.nan_to_num(0).abs();
  const double largest = sizes.numel() > 0 ? sizes.max().item<double>() : 0;
  const bool has_sign = (numbers < 0).any().item<bool>();
  const auto rows = words(view, "rows"), columns = words(view, "columns");
  const auto name = [](const std::vector<std::string>& names, std::int64_t i) {
    return static_cast<std::size_t>(i) < names.size() ? escape(names[static_cast<std::size_t>(i)])
                                                      : std::to_string(i);
  };
  // Long names stand upright, so that more columns fit.
  const bool has_long_names = std::any_of(columns.begin(), columns.end(),
                                          [](const std::string& word) { return word.size() > 6; });
  std::string html = std::string("<div class=\"scroll\"><table class=\"matrix") +
                     (has_sign ? " signed" : "") + (has_long_names ? " upright" : "") +
                     "\"><tr><th></th>";
  for (std::int64_t k = 0; k < values.size(1); ++k) html += "<th>" + name(columns, k) + "</th>";
  html += "</tr>";
  for (std::int64_t i = 0; i < values.size(0); ++i) {
    html += "<tr><th>" + name(rows, i) + "</th>";
    for (std::int64_t k = 0; k < values.size(1); ++k) {
      const double value = numbers[i][k].item<double>();
      if (std::isnan(value)) {
        html += "<td></td>";
        continue;
      }
      html += std::string("<td") + (value < 0 ? " class=\"below\"" : "") +
              " style=\"--share:" + number(largest > 0 ? std::abs(value) / largest : 0) + "\">" +
              (values.is_floating_point() ? cell_number(value, largest) : number(value)) + "</td>";
    }
    html += "</tr>";
  }
  return html + "</table></div>";
}

constexpr int shown_pixels = 128;
constexpr std::int64_t most_pixels = 128;
constexpr const char* clipping_note =
    "<p class=\"note\">Full colour is at the 99th percentile of the sizes in each map, and beyond "
    "it.</p>";

/// A map as it is drawn: its largest sizes are clipped, so that single places don't pale the rest.
struct ClippedMap {
  explicit ClippedMap(const at::Tensor& map) {
    values = at_most(map.to(at::kFloat).nan_to_num(0).unsqueeze(0), most_pixels)[0];
    const at::Tensor sizes = values.abs().flatten();
    const auto rank =
        static_cast<std::int64_t>(std::ceil(0.99 * static_cast<double>(sizes.numel())));
    bound = std::get<0>(sizes.kthvalue(std::max<std::int64_t>(rank, 1))).item<double>();
    // A map that is zero nearly everywhere is drawn to its largest value.
    if (bound <= 0) bound = sizes.max().item<double>();
    values = values.clamp(-bound, bound);
  }
  at::Tensor values;
  double bound = 0;
};

std::string colour_bar(double bound) {
  return "<div class=\"bar\"><span>" + number(-bound) + "</span>" +
         image(diverging(at::linspace(-1, 1, 64).view({1, 64}).expand({6, 64})), 72,
               "colours from least to most") +
         "<span>" + number(bound) + "</span></div>";
}

/// Maps of several methods on the same samples, [methods, N, C, H, W].
std::string side_by_side(const Value& view, const at::Tensor& maps, const at::Tensor& images,
                         const std::vector<std::string>& ids) {
  const auto rows = words(view, "rows");
  std::string html = "<div class=\"scroll\"><table class=\"grid\"><tr><th></th>";
  for (std::int64_t i = 0; i < maps.size(1); ++i) {
    const auto k = static_cast<std::size_t>(i);
    html += "<td>" +
            (images.defined()
                 ? photograph(to_rgb(at_most(images[i], most_pixels)), shown_pixels, "the image") +
                       "<br>"
                 : "") +
            (k < ids.size() ? escape_name(ids[k]) : "") + "</td>";
  }
  html += "</tr>";
  for (std::int64_t method = 0; method < maps.size(0); ++method) {
    const auto k = static_cast<std::size_t>(method);
    html += "<tr><th>" + (k < rows.size() ? escape(rows[k]) : "") + "</th>";
    for (std::int64_t i = 0; i < maps.size(1); ++i) {
      const ClippedMap map(maps[method][i].sum(0));
      html += "<td>" + image(diverging(map.values), shown_pixels, "attribution") +
              colour_bar(map.bound) + "</td>";
    }
    html += "</tr>";
  }
  return html + "</table></div>" + clipping_note;
}

std::string heat_map(const Value& view, const ArtifactReader& artifact) {
  const std::string name = tensor_name(view);
  at::Tensor values;
  for (const TensorInfo& info : artifact.tensors()) {
    if (info.name != name) continue;
    const bool per_image = info.shape.size() == 4;
    values = per_image ? artifact.rows(name, 0, std::min(most_images, info.shape[0]))
                       : artifact.tensor(name);
  }
  if (!values.defined()) throw Error("the artifact has no tensor \"" + name + "\"");
  // Networks have maps with their channels last, too.
  if (const std::vector<std::string> axes = words(view, "axes");
      values.dim() == 4 && has_axis("c", axes) && has_axis("y", axes))
    values = channels_first(values, axes);
  if (values.dim() == 2) return matrix(view, values);
  if (values.dim() != 4 && values.dim() != 5)
    throw Error("a heat map needs a matrix, N x C x H x W, or several of these");
  const std::string images_name = option(view, "images");
  at::Tensor images;
  if (!images_name.empty()) images = artifact.tensor(images_name);
  const std::vector<std::string> ids = artifact.sample_ids();
  if (values.dim() == 5) return side_by_side(view, values, images, ids);
  std::string html = "<div class=\"maps\">";
  for (std::int64_t i = 0; i < values.size(0); ++i) {
    const ClippedMap map(values[i].sum(0));
    html += "<figure>";
    if (images.defined() && i < images.size(0)) {
      const at::Tensor picture = at_most(images[i], most_pixels);
      html += photograph(to_rgb(picture), shown_pixels, "the image");
      html += photograph(overlay(picture, map.values), shown_pixels, "attribution over the image");
    } else {
      html += image(diverging(map.values), shown_pixels, "attribution");
    }
    html += colour_bar(map.bound);
    const auto k = static_cast<std::size_t>(i);
    html += "<figcaption>" + (k < ids.size() ? escape_name(ids[k]) : "") + "</figcaption></figure>";
  }
  return html + "</div>" + clipping_note;
}

}  // namespace

std::string draw_view(const Value& view, const ArtifactReader& artifact) {
  const std::string& type = view.at("type").as_string();
  const bool wide = type == "image_grid" || type == "heat_map" || type == "table";
  std::string html = std::string("<section class=\"view") + (wide ? " wide" : "") + "\"><h4>" +
                     escape(view.at("title").as_string()) + "</h4>";
  try {
    if (type == "table") {
      html += table(view);
    } else if (type == "line") {
      html += line(view, artifact);
    } else if (type == "scatter") {
      html += scatter(view, artifact);
    } else if (type == "image_grid") {
      html += image_grid(view, artifact);
    } else if (type == "heat_map") {
      html += heat_map(view, artifact);
    } else {
      throw Error("the report cannot draw a " + type + " yet; the data are in the run's folder");
    }
  } catch (const Error& error) {
    html += "<p class=\"failure\">" + escape(error.full()) + "</p>";
  } catch (const c10::Error& error) {
    html += "<p class=\"failure\">" + escape(error.what_without_backtrace()) + "</p>";
  }
  const Value* caption = view.find("caption");
  if (caption != nullptr && caption->is_string() && !caption->as_string().empty())
    html += "<p class=\"note\">" + escape(caption->as_string()) + "</p>";
  return html + "</section>";
}

}  // namespace microtome::host::report
