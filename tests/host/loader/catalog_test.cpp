// The loader's refusals, each with a library that is wrong for real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "host/loader/catalog.h"
#include "host/loader/probe.h"
#include "tests/support/temporary_folder.h"

namespace microtome::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

fs::path fixture(const std::string& name) {
  return fs::path(MICROTOME_FIXTURE_FOLDER) / name / (name + ".so");
}

host::Catalog catalog_of(const fs::path& folder) {
  return host::Catalog(host::SearchPath{{folder}});
}

/// What is said of the only plugin in a folder before anything of it is loaded.
std::string refusal_in_listing(const std::string& name) {
  const auto catalog = catalog_of(fixture(name).parent_path());
  EXPECT_EQ(catalog.plugins().size(), 1U);
  return catalog.plugins().at(0).refusal;
}

std::string refusal_in_loading(const std::string& name) {
  auto catalog = catalog_of(fixture(name).parent_path());
  EXPECT_EQ(catalog.plugins().at(0).refusal, "");
  try {
    catalog.stage_type("pixel_sum_0000");
  } catch (const host::PluginRefused& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PluginLoader, LoadsAPluginThatBehaves) {
  auto catalog = catalog_of(fixture("well_behaved").parent_path());
  EXPECT_EQ(catalog.plugins().at(0).name, "well-behaved");
  EXPECT_EQ(catalog.plugins().at(0).version, "1.2.3");
  const StageDescription& said = catalog.stage_type("pixel_sum_0000").description();
  EXPECT_EQ(said.parameters.at(0).default_value, Value("none"));
  EXPECT_EQ(catalog.plugin_hash("pixel_sum_0000").size(), 32U);
}

TEST(PluginLoader, RefusesWhatIsNoLibrary) {
  const TemporaryFolder folder;
  folder.write("text.so", "this is no library");
  folder.write("empty.so", "");
  const auto catalog = catalog_of(folder.path());
  ASSERT_EQ(catalog.plugins().size(), 2U);
  for (const auto& plugin : catalog.plugins())
    EXPECT_EQ(plugin.refusal, "it is not a shared library");
}

TEST(PluginLoader, RefusesALibraryWithoutDescriptor) {
  EXPECT_THAT(refusal_in_listing("no_plugin"), HasSubstr("no plugin descriptor"));
}

TEST(PluginLoader, RefusesOtherVersionsOfTheSdk) {
  const auto version = [](std::uint32_t major, std::uint32_t minor) {
    return "SDK " + std::to_string(major) + "." + std::to_string(minor);
  };
  const std::string here = "this host has " + version(sdk_major, sdk_minor);
  EXPECT_THAT(refusal_in_listing("newer_major"),
              AllOf(HasSubstr("built with " + version(sdk_major + 1, sdk_minor)), HasSubstr(here)));
  EXPECT_THAT(refusal_in_listing("older_minor"),
              AllOf(HasSubstr("built with " + version(sdk_major, sdk_minor - 1)), HasSubstr(here)));
  EXPECT_THAT(refusal_in_listing("newer_minor"),
              AllOf(HasSubstr("built with " + version(sdk_major, sdk_minor + 1)), HasSubstr(here)));
}

TEST(PluginLoader, RefusesObjectsOfAnotherLayout) {
  // Its plans are larger than the host's.
  EXPECT_THAT(refusal_in_listing("other_layout"),
              AllOf(HasSubstr("built with SDK " + std::to_string(sdk_major) + "." +
                              std::to_string(sdk_minor + 1)),
                    HasSubstr("this host has SDK"), HasSubstr("laid out otherwise")));
}

TEST(PluginLoader, RefusesAnotherLibTorchBeforeLoading) {
  EXPECT_THAT(refusal_in_listing("other_libtorch"),
              AllOf(HasSubstr("built with LibTorch"), HasSubstr("this host runs LibTorch")));
}

TEST(PluginLoader, RefusesAnotherAbi) {
  EXPECT_THAT(refusal_in_listing("other_abi"), HasSubstr("C++ ABI \"Xtanium"));
}

TEST(PluginLoader, RefusesADescriptorThatDiffersInMemory) {
  EXPECT_THAT(refusal_in_loading("changes_in_memory"),
              HasSubstr("in the file and in memory differ"));
}

TEST(PluginLoader, RefusesARegistrationThatThrows) {
  EXPECT_THAT(refusal_in_loading("registration_throws"),
              HasSubstr("its registration failed: the description is broken"));
}

/// The well-behaved plugin under another name of the same length, with the last digit of its type
/// changed.
std::string renamed(const std::string& name, char digit) {
  std::string copy = read_file(fixture("well_behaved"));
  const auto replace = [&](const std::string& from, const std::string& to) {
    for (std::size_t at = copy.find(from); at != std::string::npos;
         at = copy.find(from, at + from.size()))
      copy.replace(at, from.size(), to);
  };
  replace("well-behaved", name);
  replace("pixel_sum_0000", std::string("pixel_sum_000") + digit);
  return copy;
}

std::string refusal_of(host::Catalog& catalog, const std::string& type) {
  try {
    catalog.stage_type(type);
  } catch (const host::PluginRefused& error) {
    return error.what();
  }
  return "accepted";
}

TEST(PluginLoader, RefusesParametersThatNobodyCanUnderstand) {
  EXPECT_THAT(refusal_in_loading("parameter_without_doc"),
              HasSubstr("parameter \"number\" of its stage type \"pixel_sum_0000\" has no doc"));
  EXPECT_THAT(refusal_in_loading("words_without_choices"),
              HasSubstr("parameter \"word\" of its stage type \"pixel_sum_0000\" is an "
                        "enumeration without words"));
}

TEST(PluginLoader, AProbeSaysWhichPluginCannotBeLoaded) {
  const auto why = [](const std::string& name) {
    auto catalog = catalog_of(fixture(name).parent_path());
    return host::why_broken(catalog, catalog.plugins().at(0));
  };
  EXPECT_EQ(why("well_behaved"), "");
  EXPECT_THAT(why("registration_throws"), HasSubstr("the description is broken"));
  EXPECT_EQ(why("exits"), "it ends the program while it is loaded");
  EXPECT_THAT(why("aborts"), HasSubstr("it kills the program while it is loaded (Aborted)"));
}

TEST(PluginLoader, AClashCostsTheClashingTypeAlone) {
  const TemporaryFolder folder;
  folder.write("a.so", renamed("first-plugin", '0'));
  folder.write("b.so", renamed("other-plugin", '0'));
  folder.write("c.so", renamed("third-plugin", '1'));
  auto catalog = catalog_of(folder.path());
  for (const auto& plugin : catalog.plugins()) EXPECT_EQ(plugin.refusal, "");
  EXPECT_THAT(refusal_of(catalog, "pixel_sum_0000"),
              AllOf(HasSubstr("a.so"), HasSubstr("b.so"),
                    HasSubstr("say which is meant: first-plugin/pixel_sum_0000 or "
                              "other-plugin/pixel_sum_0000")));
  EXPECT_EQ(refusal_of(catalog, "other-plugin/pixel_sum_0000"), "accepted");
  EXPECT_EQ(catalog.plugin_of("other-plugin/pixel_sum_0000")->path.filename(), "b.so");
  EXPECT_EQ(refusal_of(catalog, "pixel_sum_0001"), "accepted");
  EXPECT_THAT(catalog.stage_types(),
              ::testing::ElementsAre("first-plugin/pixel_sum_0000", "other-plugin/pixel_sum_0000",
                                     "pixel_sum_0001"));
  EXPECT_THROW(catalog.stage_type("fourth-plugin/pixel_sum_0000"), Error);
}

TEST(PluginLoader, OnePluginTwiceIsSaid) {
  const TemporaryFolder folder;
  fs::copy(fixture("well_behaved"), folder.path() / "a.so");
  fs::copy(fixture("well_behaved"), folder.path() / "b.so");
  auto catalog = catalog_of(folder.path());
  EXPECT_THAT(refusal_of(catalog, "pixel_sum_0000"),
              AllOf(HasSubstr("a.so"), HasSubstr("b.so"),
                    HasSubstr("take all but one of them off the search path")));
}

TEST(PluginLoader, RefusesWhatOthersCanWrite) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "a.so";
  fs::copy(fixture("well_behaved"), file);
  fs::permissions(file, fs::perms::others_write, fs::perm_options::add);
  EXPECT_THAT(catalog_of(folder.path()).plugins().at(0).refusal,
              HasSubstr("can be written by every user"));
  fs::permissions(file, fs::perms::others_write, fs::perm_options::remove);
  EXPECT_EQ(catalog_of(folder.path()).plugins().at(0).refusal, "");
  fs::permissions(folder.path(), fs::perms::others_write, fs::perm_options::add);
  EXPECT_THAT(catalog_of(folder.path()).plugins().at(0).refusal,
              HasSubstr("can be written by every user"));
}

TEST(PluginLoader, RefusesACutOffLibrary) {
  const std::string whole = read_file(fixture("well_behaved"));
  for (const std::size_t size :
       {std::size_t{10}, std::size_t{64}, whole.size() / 3, whole.size() - 100}) {
    const TemporaryFolder folder;
    folder.write("cut.so", whole.substr(0, size));
    EXPECT_NE(catalog_of(folder.path()).plugins().at(0).refusal, "") << size;
  }
}

TEST(PluginLoader, AThousandPluginsAreListedQuickly) {
  const TemporaryFolder folder;
  const std::string whole = read_file(fixture("well_behaved"));
  for (int i = 0; i < 1000; ++i) {
    char number[8];
    std::snprintf(number, sizeof number, "%04d", i);
    std::string copy = whole;
    // The name stands in the descriptor; each copy gets a stage type of its own.
    for (std::size_t at = copy.find("pixel_sum_0000"); at != std::string::npos;
         at = copy.find("pixel_sum_0000", at + 1)) {
      copy.replace(at + 10, 4, number);
    }
    folder.write("p" + std::string(number) + ".so", copy);
  }
  const auto start = std::chrono::steady_clock::now();
  const auto catalog = catalog_of(folder.path());
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(catalog.stage_types().size(), 1000U);
  RecordProperty("milliseconds", static_cast<int>(1000 * seconds));
  std::printf("1,000 plugins listed in %.3f s\n", seconds);
}

TEST(PluginLoader, APluginExportsOneSymbol) {
  for (const std::string& plugin :
       {std::string(MICROTOME_PLUGIN_FOLDER) + "/microtome-activations.so",
        std::string(MICROTOME_PLUGIN_FOLDER) + "/microtome-evaluate.so",
        std::string(MICROTOME_PLUGIN_FOLDER) + "/microtome-attribution.so",
        fixture("well_behaved").string()}) {
    FILE* pipe = popen(("nm -D --defined-only " + plugin).c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string listed;
    char line[512];
    while (std::fgets(line, sizeof line, pipe) != nullptr) listed += line;
    ASSERT_EQ(pclose(pipe), 0);
    EXPECT_THAT(listed, HasSubstr("microtome_plugin_entry"));
    EXPECT_EQ(std::count(listed.begin(), listed.end(), '\n'), 1) << listed;
  }
}

}  // namespace
}  // namespace microtome::testing
