// Names that people give to modules, written in the grammars of hook points and targets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "microtome/class_numbers.h"
#include "microtome/quoting.h"
#include "microtome/sdk.h"
#include "microtome/utf8.h"

namespace microtome {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::vector<std::string> nasty_names = {
    "a b",     "x[0]",   "it's",  "'",          "''",     "a,b",    "f(x)", "a@2",
    "a:in",    "a/add",  "a|b.c", "\"q\"",      "[c=3]",  "a]",     "(",    "x = 1",
    " lead",   "trail ", "tab\t", "new\nline",  "ünï çö", "0",      "10",   "-1",
    "a-b_c+d", "$%&",    "'a' b", "last, [0](", "@",      "日本 語"};

TEST(Quoting, HookPointsOfNastyNamesAreReadAndWrittenBack) {
  for (const std::string& name : nasty_names) {
    for (const std::string& module : {name, "m." + name, name + ".m", name + "." + name}) {
      HookPoint hook;
      hook.module = module;
      for (const char* rest :
           {"", "@2", ":in", ":in[1]", "/add", "/add@3", "[c=3,y=last]", "@2:out[1][unit=[1,2]]",
            "|sae.latents[unit=17]", "[dir=probe[layer=m.'x[0]'].directions[4]]"}) {
        const std::string text = hook.text() + rest;
        const HookPoint read = parse_hook_point(text);
        EXPECT_EQ(read.module, module) << text;
        EXPECT_EQ(read.text(), text);
      }
    }
  }
}

TEST(Quoting, QuotesMayStandAroundTheWholePathOrWhereNoneAreNeeded) {
  EXPECT_EQ(parse_hook_point("'m.a b.c'").text(), "m.'a b'.c");
  EXPECT_EQ(parse_hook_point("'layer1'.0.'conv1':in").text(), "layer1.0.conv1:in");
  EXPECT_EQ(parse_hook_point("'it''s'").module, "it's");
}

TEST(Quoting, TargetsTakeThem) {
  for (const std::string& name : nasty_names) {
    HookPoint hook;
    hook.module = "m." + name;
    const std::string site = hook.text();
    const Target unit = parse_target("unit(" + site + "[c=3,y=2])");
    EXPECT_EQ(unit.hook->module, hook.module);
    EXPECT_EQ(parse_target(unit.text()).text(), unit.text());
    const Target direction =
        parse_target("direction( " + site + " , probe[layer=" + site + "].directions[2])");
    EXPECT_EQ(direction.hook->module, hook.module);
    EXPECT_EQ(direction.direction->stage, "probe[layer=" + site + "]");
    EXPECT_EQ(direction.direction->row, 2);
    EXPECT_EQ(parse_target(direction.text()).text(), direction.text());
  }
}

TEST(Quoting, MistakesSayHowToQuote) {
  const auto mistake = [](const char* text) {
    try {
      parse_hook_point(text);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(mistake("m.a b"), AllOf(HasSubstr("single quotes"), HasSubstr("m.'x[0]'")));
  EXPECT_THAT(mistake("m.x[0]"), HasSubstr("single quotes"));
  EXPECT_THAT(mistake("m.a:b"), HasSubstr("single quotes"));
  EXPECT_THAT(mistake("it's"), HasSubstr("'it''s'"));
  EXPECT_THAT(mistake("m.'a"), HasSubstr("the quote is not closed"));
  EXPECT_THAT(mistake("m.''"), HasSubstr("there is nothing between the quotes"));
  EXPECT_THAT(mistake("'a'b"), HasSubstr("there is more after its end"));
}

TEST(Quoting, StopsAreFoundOutsideQuotesAndBrackets) {
  EXPECT_EQ(find_outside("a,b", ","), 1U);
  EXPECT_EQ(find_outside("f(a,b),c", ","), 6U);
  EXPECT_EQ(find_outside("'a,b',c", ","), 5U);
  EXPECT_EQ(find_outside("k='],',x]", "]", 0), 8U);
  EXPECT_EQ(find_outside("it's,x", ","), 4U) << "an apostrophe inside of a word quotes nothing";
  EXPECT_EQ(find_outside("'open,x", ","), 5U) << "nor does one that is never closed";
  EXPECT_EQ(find_outside("none", ","), 4U);
}

TEST(Quoting, ALayerIsFoundHoweverItIsWritten) {
  const std::vector<TensorInfo> tensors = {{"m.'a b'", at::kFloat, {1, 2}, true},
                                           {"m.c", at::kFloat, {1, 2}, true}};
  for (const char* text : {"m.'a b'", "'m.a b'", "'m'.'a b'"})
    EXPECT_EQ(FeatureRows::choose(tensors, text), "m.'a b'") << text;
  EXPECT_THROW(FeatureRows::choose(tensors, "m.a b"), Error);
}

TEST(Values, TextThatIsNotUtf8SurvivesJson) {
  const std::string mark = "\xEF\xB7\x90";  // U+FDD0, which stands for itself too
  for (const std::string& text :
       {std::string("caf\xE9"), std::string("\xFF\xFE"), std::string("\xC3"), mark, mark + "e9",
        mark + "00", "\xE9" + mark + "\x80", std::string("\xED\xB3\xA9"),
        std::string("\xF0\x9F\x98\x80 ok"), std::string("a\nb\"<script>\\udce9\\"),
        std::string("\0\x01", 2)}) {
    Value value = Value::map();
    value.set("text", text);
    value.set(text, Value(Value::List{Value(text)}));
    const std::string json = to_json(value);
    EXPECT_TRUE(from_json(json) == value) << json;
    EXPECT_EQ(find_invalid_utf8(json), std::string::npos) << "JSON is UTF-8";
  }
  EXPECT_EQ(to_json(Value("caf\xE9")), "\"caf\\udce9\"") << "as Python's os.fsdecode has it";
  EXPECT_EQ(from_json("\"\\ud83d\\ude00\"").as_string(), "\xF0\x9F\x98\x80");
  EXPECT_EQ(from_json("\"\\uDCE9\"").as_string(), "\xE9");
  EXPECT_EQ(from_json("\"\\ufdd0e9\"").as_string(), mark + "e9");
}

TEST(ClassNumbers, AreTakenOrRefusedWithTheRemedy) {
  const auto refusal = [](const at::Tensor& field) {
    try {
      class_numbers(field, "label");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("taken");
  };
  const at::Tensor numbers = at::tensor({2, 0, 1}, at::kLong);
  for (const at::ScalarType type : {at::kLong, at::kInt, at::kShort, at::kByte, at::kChar})
    EXPECT_TRUE(class_numbers(numbers.to(type), "label").equal(numbers));
  EXPECT_TRUE(class_numbers(numbers.unsqueeze(1), "label").equal(numbers)) << "N x 1";
  EXPECT_TRUE(class_numbers(numbers > 0, "label").equal(at::tensor({1, 0, 1}, at::kLong)));
  EXPECT_THAT(refusal(at::eye(3).to(at::kLong)),
              AllOf(HasSubstr("\"label\""), HasSubstr("N x 3"), HasSubstr("they are one-hot"),
                    HasSubstr("labels.argmax(1)")));
  EXPECT_THAT(refusal(at::rand({4, 3})), AllOf(HasSubstr("N x 3"), HasSubstr("argmax")));
  EXPECT_THAT(refusal(numbers.to(at::kFloat)),
              AllOf(HasSubstr("real numbers"), HasSubstr("int64")));
  EXPECT_EQ(why_not_classes({"label", at::kLong, {}, {}, false}), "");
  EXPECT_EQ(why_not_classes({"label", at::kInt, {1}, {}, false}), "");
  EXPECT_THAT(why_not_classes({"label", at::kFloat, {10}, {}, false}), HasSubstr("N x 10"));
  EXPECT_THAT(why_not_classes({"label", at::kDouble, {}, {}, false}), HasSubstr("real numbers"));
}

}  // namespace
}  // namespace microtome
