// What the report draws of an artifact.
#include "host/report/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>

#include "host/report/charts.h"
#include "host/store/artifact_folder.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Views, AThinnedScatterShowsEveryPositionInItsColour) {
  // Sixteen rows a sample: x is the row's position in its sample, y the sample's group.
  constexpr std::int64_t samples = 500, positions = 16;
  const TemporaryFolder folder;
  const at::Tensor group = at::arange(samples) % 2;
  const at::Tensor rows =
      at::stack({at::arange(positions).unsqueeze(0).expand({samples, positions}),
                 group.unsqueeze(1).expand({samples, positions})},
                2)
          .to(at::kFloat);
  host::ArtifactFolderWriter writer(folder.path() / "a", "projection");
  writer.tensor("projection", rows, false);
  writer.tensor("label", group, false);
  View view{View::Type::scatter, "Rows", "", {"projection"}, Value()};
  view.options.set("colour", "label");
  writer.view(view);
  writer.finish({"a", "projection", {}}, std::nullopt);
  const host::ArtifactFolderReader reader(folder.path() / "a");
  const std::string html =
      host::report::draw_view(reader.description().at("views").as_list()[0], reader);
  EXPECT_THAT(html, HasSubstr("2000 of the 8000 points"));
  const std::regex circle(R"re(fill="([^"]*)" cx="([^"]*)" cy="([^"]*)")re");
  std::map<std::string, std::set<std::string>> colours;
  std::map<std::string, int> columns;
  for (auto found = std::sregex_iterator(html.begin(), html.end(), circle);
       found != std::sregex_iterator(); ++found) {
    colours[(*found)[3]].insert((*found)[1]);
    ++columns[(*found)[2]];
  }
  ASSERT_EQ(columns.size(), 16U);
  int drawn = 0;
  for (const auto& [x, count] : columns) {
    // 125 are expected; five standard deviations are 50.
    EXPECT_NEAR(count, 125, 50) << x;
    drawn += count;
  }
  EXPECT_EQ(drawn, 2000);
  ASSERT_EQ(colours.size(), 2U);
  for (const auto& [y, of_group] : colours) EXPECT_EQ(of_group.size(), 1U);
  EXPECT_NE(colours.begin()->second, colours.rbegin()->second);
}

TEST(Charts, NumbersThatAreNotFiniteAreLeftOut) {
  const double nan_value = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  host::report::MeasuredSeries series{"a", {}};
  series.values.push_back({"first", 1, 0.5, 1.5, nan_value});
  series.values.push_back({"second", nan_value, nan_value, infinity, 0.5});
  const std::string intervals = host::report::interval_chart({"t", "x", "y"}, {series});
  const std::string points =
      host::report::scatter_chart({"t", "x", "y"}, {{1, nan_value, 3}, {1, 2, infinity}, {}, {}});
  for (const std::string& html : {intervals, points}) {
    EXPECT_THAT(html, HasSubstr("<circle"));
    EXPECT_THAT(html, Not(HasSubstr("\"nan\"")));
    EXPECT_THAT(html, Not(HasSubstr("\"inf\"")));
  }
}

}  // namespace
}  // namespace microtome::testing
