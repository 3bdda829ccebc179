#include "host/report/charts.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "host/report/html.h"

namespace microtome::host::report {
namespace {

constexpr double width = 520, height = 280, left = 62, right = 14, top = 12, bottom = 46;
/// Colours that people with and without colour blindness tell apart (Okabe, Ito 2008), with blue
/// first as it is read on light and on dark.
constexpr const char* colours[] = {"#3b86c8", "#e08a00", "#12a075", "#d55e00", "#b86a9a",
                                   "#56b4e9", "#9a8f00", "#808080", "#7a5cc0", "#a0522d"};

const char* colour(std::size_t i) { return colours[i % std::size(colours)]; }
/// Where colours come again, lines are dashed.
bool is_dashed(std::size_t i) { return i >= std::size(colours); }

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

/// Range of an axis with round steps.
struct Scale {
  double low = 0, high = 1, step = 0.2, from = 0, to = 1;

  Scale(double smallest, double largest, double pixel_from, double pixel_to)
      : from(pixel_from), to(pixel_to) {
    if (!(largest > smallest)) {
      smallest -= 0.5;
      largest += 0.5;
    }
    const double raw = (largest - smallest) / 5;
    const double power = std::pow(10, std::floor(std::log10(raw)));
    step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
    low = std::floor(smallest / step) * step;
    high = std::ceil(largest / step) * step;
  }
  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

class Frame {
 public:
  Frame(const Axes& axes, const Scale& x, const Scale& y, bool x_ticks)
      : x_(x), y_(y), text_(begin(axes)) {
    for (double value = y.low; value <= y.high + y.step / 2; value += y.step) {
      const std::string at = decimal(y(value));
      text_ += "<line class=\"grid\" x1=\"" + decimal(left) + "\" x2=\"" + decimal(width - right) +
               "\" y1=\"" + at + "\" y2=\"" + at + "\"/>";
      label(left - 6, y(value) + 4, "end", number(std::abs(value) < y.step * 1e-9 ? 0 : value));
    }
    for (double value = x.low; x_ticks && value <= x.high + x.step / 2; value += x.step)
      label(x(value), height - bottom + 16, "middle",
            number(std::abs(value) < x.step * 1e-9 ? 0 : value));
    label((left + width - right) / 2, height - 8, "middle", axes.x);
    text_ += "<text class=\"axis\" text-anchor=\"middle\" transform=\"translate(13 " +
             decimal((top + height - bottom) / 2) + ") rotate(-90)\">" + escape(axes.y) + "</text>";
  }
  void add(const std::string& svg) { text_ += svg; }
  void label(double x, double y, const char* anchor, const std::string& words) {
    text_ += "<text x=\"" + decimal(x) + "\" y=\"" + decimal(y) + "\" text-anchor=\"" + anchor +
             "\">" + escape(words) + "</text>";
  }
  std::string done() const { return text_ + "</svg>"; }

 private:
  static std::string begin(const Axes& axes) {
    return "<svg class=\"chart\" role=\"img\" aria-label=\"" + escape(axes.title) +
           "\" viewBox=\"0 0 " + decimal(width) + " " + decimal(height) + "\">";
  }
  Scale x_, y_;
  std::string text_;
};

std::string legend(const std::vector<std::string>& names) {
  std::string text = "<div class=\"legend\">";
  for (std::size_t i = 0; i < names.size(); ++i)
    text += std::string("<span><i") + (is_dashed(i) ? " class=\"dashed\"" : "") +
            " style=\"background:" + colour(i) + "\"></i>" + escape(names[i]) + "</span>";
  return text + "</div>";
}

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void take(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

/// Where a value of an interval chart stands.
struct Stand {
  double at, middle, space;
};

void draw_measured(Frame& frame, const Measured& one, const Stand& stand, std::size_t series,
                   const Scale& y) {
  const std::string at = decimal(stand.at);
  const auto drawn = [](const std::optional<double>& value) {
    return value && std::isfinite(*value);
  };
  if (drawn(one.low) && drawn(one.high))
    frame.add("<line stroke=\"" + std::string(colour(series)) + "\" stroke-width=\"2\" x1=\"" + at +
              "\" x2=\"" + at + "\" y1=\"" + decimal(y(*one.low)) + "\" y2=\"" +
              decimal(y(*one.high)) + "\"/>");
  if (drawn(one.value))
    frame.add("<circle r=\"4.5\" fill=\"" + std::string(colour(series)) + "\" cx=\"" + at +
              "\" cy=\"" + decimal(y(one.value)) + "\"><title>" + escape(one.name) + ": " +
              number(one.value) + "</title></circle>");
  if (drawn(one.chance))
    frame.add("<line class=\"chance\" x1=\"" + decimal(stand.middle - stand.space * 0.3) +
              "\" x2=\"" + decimal(stand.middle + stand.space * 0.3) + "\" y1=\"" +
              decimal(y(*one.chance)) + "\" y2=\"" + decimal(y(*one.chance)) + "\"/>");
}

std::string nothing() { return "<p class=\"note\">There is no finite number to draw.</p>"; }

}  // namespace

std::string line_chart(const Axes& axes, const std::vector<Series>& series) {
  Range xs, ys;
  for (const Series& one : series) {
    for (const double value : one.x) xs.take(value);
    for (const double value : one.y) ys.take(value);
  }
  if (xs.empty() || ys.empty()) return nothing();
  const Scale x(xs.low, xs.high, left, width - right), y(ys.low, ys.high, height - bottom, top);
  Frame frame(axes, x, y, true);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < series.size(); ++i) {
    std::string points;
    const bool few = series[i].x.size() <= 40;
    for (std::size_t k = 0; k < series[i].x.size(); ++k) {
      if (!std::isfinite(series[i].y[k])) continue;
      const std::string px = decimal(x(series[i].x[k])), py = decimal(y(series[i].y[k]));
      points += px + "," + py + " ";
      if (few)
        frame.add("<circle r=\"2.5\" fill=\"" + std::string(colour(i)) + "\" cx=\"" + px +
                  "\" cy=\"" + py + "\"/>");
    }
    frame.add(std::string("<polyline fill=\"none\" stroke-width=\"1.8\"") +
              (is_dashed(i) ? " stroke-dasharray=\"5 3\"" : "") + " stroke=\"" + colour(i) +
              "\" points=\"" + points + "\"/>");
    names.push_back(series[i].name);
  }
  return frame.done() + (series.size() > 1 ? legend(names) : "");
}

std::string scatter_chart(const Axes& axes, const Points& points) {
  Range xs, ys;
  for (const double value : points.x) xs.take(value);
  for (const double value : points.y) ys.take(value);
  if (xs.empty() || ys.empty()) return nothing();
  const Scale x(xs.low, xs.high, left, width - right), y(ys.low, ys.high, height - bottom, top);
  Frame frame(axes, x, y, true);
  for (std::size_t i = 0; i < points.x.size(); ++i) {
    if (!std::isfinite(points.x[i]) || !std::isfinite(points.y[i])) continue;
    const std::size_t group = points.group.empty() ? 0 : static_cast<std::size_t>(points.group[i]);
    frame.add("<circle r=\"2.6\" fill-opacity=\"0.7\" fill=\"" + std::string(colour(group)) +
              "\" cx=\"" + decimal(x(points.x[i])) + "\" cy=\"" + decimal(y(points.y[i])) + "\"/>");
  }
  return frame.done() + (points.group_names.empty() ? "" : legend(points.group_names));
}

std::string interval_chart(const Axes& axes, const std::vector<MeasuredSeries>& series) {
  Range ys;
  std::size_t places = 0;
  for (const MeasuredSeries& one : series) {
    places = std::max(places, one.values.size());
    for (const Measured& value : one.values) {
      ys.take(value.value);
      for (const auto& edge : {value.low, value.high, value.chance}) {
        if (edge) ys.take(*edge);
      }
    }
  }
  if (ys.empty()) return nothing();
  const Scale x(-0.5, static_cast<double>(places) - 0.5, left, width - right);
  const Scale y(ys.low, ys.high, height - bottom, top);
  const double space = (width - right - left) / static_cast<double>(places);
  Frame frame(axes, x, y, false);
  std::vector<std::string> names;
  for (std::size_t k = 0; k < series.size(); ++k) {
    names.push_back(series[k].name);
    // Beside each other, in the middle of the name's space.
    const double beside = (static_cast<double>(k) + 1) / (static_cast<double>(series.size()) + 1);
    for (std::size_t i = 0; i < series[k].values.size(); ++i) {
      const double start = left + space * static_cast<double>(i);
      const double at = series.size() == 1 ? start + space / 2 : start + space * beside;
      draw_measured(frame, series[k].values[i], {at, start + space / 2, space}, k, y);
      if (k == 0)
        frame.label(start + space / 2, height - bottom + 16, "middle", series[k].values[i].name);
    }
  }
  return frame.done() + (series.size() > 1 ? legend(names) : "");
}

}  // namespace microtome::host::report
