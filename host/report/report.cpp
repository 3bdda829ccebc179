#include "host/report/report.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <vector>

#include "host/report/charts.h"
#include "host/report/html.h"
#include "host/report/style.h"
#include "host/report/views.h"
#include "host/report/yaml_text.h"
#include "host/store/artifact_folder.h"
#include "microtome/quoting.h"

namespace microtome::host::report {
namespace {

namespace fs = std::filesystem;

std::string text_or(const Value& map, const char* key, const std::string& otherwise) {
  const Value* found = map.find(key);
  return found != nullptr && found->is_string() ? found->as_string() : otherwise;
}

/// The stage's name and, for an element of a matrix, its keys.
std::pair<std::string, std::string> split_id(const std::string& id) {
  const std::size_t open = id.find('[');
  if (open == std::string::npos) return {id, ""};
  return {id.substr(0, open), id.substr(open + 1, id.size() - open - 2)};
}

class Page {
 public:
  explicit Page(const fs::path& run) : run_(run), manifest_(read_manifest(run)) {}

  std::string html() {
    const Value& pipeline = manifest_.at("pipeline");
    const Value* report = pipeline.find("report");
    const std::string name = manifest_.at("name").as_string();
    const std::string title = report != nullptr ? text_or(*report, "title", name) : name;
    std::string page =
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
        "<title>" +
        escape(title) + "</title><style>" + style + "</style></head><body><header><h1>" +
        escape(title) + "</h1>";
    if (report != nullptr && report->find("question") != nullptr)
      page += "<p class=\"question\">" + escape(text_or(*report, "question", "")) + "</p>";
    page += "<p class=\"note\">" + escape(name) + ", " +
            escape(manifest_.at("status").as_string()) + ", " +
            escape(manifest_.at("written").as_string()) + ", seed " +
            std::to_string(manifest_.at("seed").as_integer()) + "</p></header>";
    page += failures() + dataset_remarks() + plan();
    page += "<h2>Results</h2>";
    for (const auto& [stage, ids] : groups()) page += stage_html(stage, ids);
    page += timings() + again(pipeline);
    return page + "</body></html>\n";
  }

 private:
  static Value read_manifest(const fs::path& run) {
    std::ifstream stream(run / "manifest.json", std::ios::binary);
    if (!stream) throw Error(run.string() + " is no run: it has no manifest.json");
    std::ostringstream text;
    text << stream.rdbuf();
    return from_json(text.str());
  }

  const Value& entry(const std::string& id) const { return manifest_.at("stages").at(id); }

  /// Stages in the order of the run, elements of a matrix together.
  std::vector<std::pair<std::string, std::vector<std::string>>> groups() const {
    std::vector<std::pair<std::string, std::vector<std::string>>> result;
    std::map<std::string, std::size_t> places;
    for (const auto& stage : manifest_.at("stages").as_map()) {
      const std::string name = split_id(stage.key).first;
      const auto [place, is_new] = places.emplace(name, result.size());
      if (is_new) result.push_back({name, {}});
      result[place->second].second.push_back(stage.key);
    }
    return result;
  }

  std::string failures() const {
    std::string list;
    for (const auto& stage : manifest_.at("stages").as_map()) {
      if (stage.value.find("error") == nullptr) continue;
      list += "<p class=\"failure\">" + escape(stage.key) + ": " +
              escape(stage.value.at("error").as_string()) + "</p>";
    }
    return list.empty() ? "" : "<h2>What failed</h2>" + list;
  }

  std::string dataset_remarks() const {
    const Value* remarks = manifest_.find("dataset_remarks");
    if (remarks == nullptr) return "";
    std::string html = "<h2>Of the data</h2>";
    for (const auto& dataset : remarks->as_map()) {
      for (const Value& remark : dataset.value.as_list()) {
        html +=
            "<p class=\"note\">" + escape(dataset.key) + ": " + escape(remark.as_string()) + "</p>";
      }
    }
    return html;
  }

  std::string plan() const {
    std::string html =
        "<h2>Plan</h2><div class=\"scroll\"><table><thead><tr><th>stage</th>"
        "<th>analysis</th><th>inputs</th><th>parameters</th></tr></thead><tbody>";
    for (const auto& stage : manifest_.at("pipeline").at("stages").as_map()) {
      const auto list = [&](const char* key) {
        std::string text;
        const Value* values = stage.value.find(key);
        if (values == nullptr || !values->is_map()) return text;
        for (const auto& value : values->as_map()) {
          const std::string said =
              value.value.is_string() ? value.value.as_string() : to_json(value.value);
          text += (text.empty() ? "" : ", ") + value.key + ": " + said;
        }
        return text;
      };
      const std::string matrix = list("matrix");
      html += "<tr><td>" + escape(stage.key) + "</td><td>" +
              escape(text_or(stage.value, "uses", "")) + "</td><td>" + escape(list("inputs")) +
              "</td><td>" + escape(list("with")) +
              (matrix.empty() ? "" : " <em>for each</em> " + escape(matrix)) + "</td></tr>";
    }
    return html + "</tbody></table></div>";
  }

  /// A metric of each element of a matrix, side by side.
  std::string curves(const std::vector<std::string>& ids) const {
    std::vector<std::string> order;
    std::map<std::string, std::vector<Measured>> by_name;
    for (const std::string& id : ids) {
      for (const ArtifactFolderReader& artifact : artifacts(id)) {
        for (const Value& metric : artifact.description().at("metrics").as_list()) {
          const std::string name = metric.at("name").as_string();
          if (!by_name.contains(name)) order.push_back(name);
          by_name[name].push_back(measured(short_name(id), metric));
        }
      }
    }
    std::string html;
    for (const std::string& name : order) {
      if (by_name[name].size() != ids.size()) continue;
      // `accuracy_of_pixels` stands beside `accuracy`, which it is a baseline of.
      const auto of = name.find("_of_");
      if (of != std::string::npos && by_name.contains(name.substr(0, of))) continue;
      std::vector<MeasuredSeries> series{{name, by_name[name]}};
      for (const std::string& other : order) {
        if (other.starts_with(name + "_of_") && by_name[other].size() == ids.size())
          series.push_back({other.substr(name.size() + 4), by_name[other]});
      }
      for (MeasuredSeries& one : series) std::replace(one.name.begin(), one.name.end(), '_', ' ');
      html += "<section class=\"view\"><h4>" + escape(name) + "</h4>" +
              interval_chart({name, "", name}, series) + "</section>";
    }
    if (!html.empty())
      html = "<div class=\"views\">" + html +
             "</div><p class=\"note\">Dots with their intervals; dashed: chance.</p>";
    return html;
  }

  /// The keys of an element; of a single key its value.
  static std::string short_name(const std::string& id) {
    const std::string element = split_id(id).second;
    const std::size_t equals = element.find('=');
    return find_outside(element, ",") == element.size() && equals != std::string::npos
               ? element.substr(equals + 1)
               : element;
  }

  static Measured measured(const std::string& name, const Value& metric) {
    Measured result{name, number_of(metric.at("value")), {}, {}, {}};
    if (const Value* interval = metric.find("interval")) {
      result.low = number_of(interval->at("low"));
      result.high = number_of(interval->at("high"));
    }
    if (const Value* chance = metric.find("chance")) result.chance = number_of(*chance);
    return result;
  }

  /// Artifacts of earlier versions hold numbers that are not finite, as text.
  static double number_of(const Value& value) {
    if (value.is_number()) return value.as_number();
    const double infinity = std::numeric_limits<double>::infinity();
    const std::string text = value.is_string() ? value.as_string() : "";
    return text == "Infinity"    ? infinity
           : text == "-Infinity" ? -infinity
                                 : std::numeric_limits<double>::quiet_NaN();
  }

  std::vector<ArtifactFolderReader> artifacts(const std::string& id) const {
    std::vector<ArtifactFolderReader> found;
    const fs::path folder = run_ / "stages" / entry(id).at("folder").as_string();
    for (const Value& output : entry(id).at("outputs").as_list()) {
      const fs::path artifact = folder / output.as_string();
      // A stage that failed has none.
      if (fs::is_regular_file(artifact / "artifact.json")) found.emplace_back(artifact);
    }
    return found;
  }

  /// What a metric belongs to: `method: ig`.
  static std::string said(const Value& details) {
    if (!details.is_map()) return to_json(details);
    std::string text;
    for (const auto& part : details.as_map()) {
      std::string value;
      const Value::List parts =
          part.value.is_list() ? part.value.as_list() : Value::List{part.value};
      for (const Value& one : parts)
        value +=
            (value.empty() ? "" : " and ") + (one.is_string() ? one.as_string() : to_json(one));
      text += (text.empty() ? "" : ", ") + part.key + ": " + value;
    }
    return text;
  }

  /// Many are folded behind their number.
  static std::string metrics_table(const Value& metrics) {
    constexpr std::size_t most_open = 12;
    const std::size_t count = metrics.as_list().size();
    if (count == 0) return "";
    std::string html = count > most_open
                           ? "<details><summary>" + std::to_string(count) + " metrics</summary>"
                           : "";
    html +=
        "<div class=\"scroll\"><table><thead><tr><th>metric</th><th>value</th>"
        "<th>interval</th><th>chance</th><th>n</th></tr></thead><tbody>";
    for (const Value& metric : metrics.as_list()) {
      const Measured one = measured("", metric);
      const Value* details = metric.find("details");
      const Value* unit = metric.find("resampling_unit");
      html += "<tr><td>" + escape(metric.at("name").as_string()) +
              (details != nullptr ? " <span class=\"type\">" + escape(said(*details)) + "</span>"
                                  : "") +
              "</td><td class=\"number\">" + number(one.value) + "</td><td>" +
              (one.low ? number(*one.low) + " to " + number(*one.high) : "") + "</td><td>" +
              (one.chance ? number(*one.chance) : "") + "</td><td>" +
              std::to_string(metric.at("n").as_integer()) + " " +
              (unit != nullptr ? escape(unit->as_string()) + "s" : "") + "</td></tr>";
    }
    return html + "</tbody></table></div>" + (count > most_open ? "</details>" : "");
  }

  std::string stage_html(const std::string& stage, const std::vector<std::string>& ids) const {
    const Value& first = entry(ids.front());
    std::string html = "<article class=\"stage\" id=\"" + escape(stage) + "\"><h3>" +
                       escape(stage) + " <span class=\"type\">" +
                       escape(first.at("type").as_string()) + "</span></h3>";
    html += left_out(first);
    if (ids.size() > 1) html += curves(ids);
    for (const std::string& id : ids) {
      std::string inside;
      for (const ArtifactFolderReader& artifact : artifacts(id)) {
        inside += metrics_table(artifact.description().at("metrics"));
        std::string views;
        for (const Value& view : artifact.description().at("views").as_list())
          views += draw_view(view, artifact);
        if (!views.empty()) inside += "<div class=\"views\">" + views + "</div>";
      }
      if (const Value* error = entry(id).find("error"))
        inside += "<p class=\"failure\">" + escape(error->as_string()) + "</p>";
      if (inside.empty()) inside = "<p class=\"note\">Tensors in the run's folder; no view.</p>";
      html += ids.size() == 1 ? inside
                              : "<details><summary>" + escape(split_id(id).second) + "</summary>" +
                                    inside + "</details>";
    }
    return html + "</article>";
  }

  /// Which samples the stage's results are not of, and why.
  static std::string left_out(const Value& entry) {
    const Value* skipped = entry.find("skipped_samples");
    if (skipped == nullptr) return "";
    const std::size_t count = skipped->as_map().size();
    std::string html = "<details><summary>" +
                       (count == 1 ? "1 sample is left out, as it"
                                   : std::to_string(count) + " samples are left out, as they") +
                       " can't be read</summary><ul>";
    for (const auto& sample : skipped->as_map())
      html += "<li>" + escape(sample.key) + ": " + escape(sample.value.as_string()) + "</li>";
    return html + "</ul></details>";
  }

  std::string timings() const {
    std::string html =
        "<h2>Timings</h2><div class=\"scroll\"><table><thead><tr><th>stage</th>"
        "<th>status</th><th>seconds</th></tr></thead><tbody>";
    for (const auto& stage : manifest_.at("stages").as_map()) {
      const Value* cached = stage.value.find("cached");
      html += "<tr><td>" + escape(stage.key) + "</td><td>" +
              escape(stage.value.at("status").as_string()) +
              (cached != nullptr && *cached == Value(true) ? " (from the store)" : "") +
              "</td><td class=\"number\">" + number(stage.value.at("wall_seconds").as_number()) +
              "</td></tr>";
    }
    return html + "</tbody></table></div>";
  }

  static std::string again(const Value& pipeline) {
    return "<h2>To run it again</h2><p class=\"note\">Save as pipeline.yaml beside the original, "
           "as paths are relative to it, and run <code>microtome run pipeline.yaml</code>.</p>"
           "<pre>" +
           escape(to_yaml(pipeline)) + "</pre>";
  }

  fs::path run_;
  Value manifest_;
};

}  // namespace

fs::path write(const fs::path& run) {
  const std::string html = Page(run).html();
  const fs::path file = run / "report.html", temporary = run / "report.html.part";
  {
    std::ofstream stream(temporary, std::ios::binary);
    stream << html;
    if (!stream.flush()) throw Error("the report could not be written; is the disk full?");
  }
  fs::rename(temporary, file);
  return file;
}

}  // namespace microtome::host::report
