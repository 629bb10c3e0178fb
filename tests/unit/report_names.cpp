// SPDX-License-Identifier: Apache-2.0
//
// Names made fit for a terminal.
#include <doctest/doctest.h>

#include "report/names.h"

using namespace tidemark::report;

TEST_CASE("names: nothing that drives a terminal gets through") {
  CHECK(printable("nginx: worker") == "nginx: worker");
  CHECK(printable("a\033[2Jb\nc\x7f") == "a?[2Jb?c?");
  CHECK(printable("\xc2\x9b"
                  "31m") == "??31m");  // C1 control in UTF-8
  CHECK(printable("\x9b"
                  "31m") == "?31m");  // and as a byte
  CHECK(printable("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
  CHECK(printable("\xf0\x9f\x8c\x8a") == "\xf0\x9f\x8c\x8a");
  CHECK(printable("\xc3") == "?");
  CHECK(printable("\xc0\xaf") == "??");       // overlong
  CHECK(printable("\xe2\x80\xae") == "???");  // right-to-left override
  CHECK(printable("") == "");
}

TEST_CASE("names: short names stay, long ones lose arguments first") {
  CHECK(shorten_name("main", 40) == "main");
  CHECK(shorten_name("handle(Request const&, Response&, unsigned long)", 30) == "handle(..)");
  CHECK(
      shorten_name(
          "std::vector<std::pair<int, std::string>>::push_back(std::pair<int, std::string> const&)",
          50) == "std::vector<..>::push_back(..)");
  CHECK(shorten_name("(anonymous namespace)::session_of(Connection const&, int)", 40) ==
        "(anonymous namespace)::session_of(..)");
}

TEST_CASE("names: operators keep their brackets") {
  CHECK(shorten_name(
            "std::ostream& operator<< <std::char_traits<char> >(std::ostream&, char const*)", 40) ==
        "std::ostream& operator<< <..>(..)");
  CHECK(shorten_name("Handler<Request, Response>::operator()(Request const&) const", 40) ==
        "Handler<..>::operator()(..) const");
  CHECK(shorten_name("Pointer<LongTypeName, OtherTypeName>::operator->(int, long) const", 35) ==
        "Pointer<..>::operator->(..) const");
}

TEST_CASE("names: what is still too long loses its middle") {
  const std::string name = shorten_name(std::string(100, 'a') + std::string(100, 'z'), 40);
  CHECK(name.size() == 40);
  CHECK(name.starts_with("aaa"));
  CHECK(name.ends_with("zzz"));
  CHECK(name.find("...") != std::string::npos);
  // Unbalanced brackets and cut characters do no harm.
  CHECK(shorten_name("f(((((<<<<<(((((((((((((((((((((((((((((((", 20).size() == 20);
  CHECK(shorten_name(std::string(99, '>') + ")", 20).size() == 20);
  std::string wide;
  for (int at = 0; at < 60; ++at) wide += "\xc3\xbc";
  CHECK(printable(shorten_name(wide, 21)).find('?') == std::string::npos);
}

TEST_CASE("names: frames without a function") {
  tidemark::model::Frame frame;
  frame.address = {0x7f0000001234};
  CHECK(unnamed(frame) == "[unknown+0x7f0000001234]");
  frame.module = "/usr/lib/libfoo.so";
  frame.offset = 0x123;
  CHECK(unnamed(frame) == "[libfoo.so+0x123]");
  frame.module = "[vdso]";
  CHECK(unnamed(frame) == "[vdso+0x123]");
  frame.function = "clock_gettime";
  CHECK(brief_name(frame, 40) == "clock_gettime ([vdso])");
}
