// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"flag"
	"fmt"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"obstack.dev/obstack/controllers/proof/promclient"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), and -update writes it anew:\n%s", path, diff)
	}
}

// TestPage of testdata/all.json, which has a panel of each kind.
func TestPage(t *testing.T) {
	content, err := os.ReadFile("testdata/all.json")
	if err != nil {
		t.Fatal(err)
	}
	page := get(t, newViewer(t, newFake(t), parse(t, content)), "/d/all?from=now-10m&var-queue=emails&var-queue=other")
	golden(t, "all.html", page.Body.String())
}

func TestNumbers(t *testing.T) {
	two := 2
	for _, tc := range []struct {
		value    float64
		unit     string
		decimals *int
		want     string
	}{
		{0, "s", nil, "0 s"}, {0.0000025, "s", nil, "2.5 µs"}, {0.25, "s", nil, "250 ms"}, {1.234, "s", nil, "1.23 s"},
		{180, "s", nil, "3 min"}, {7200, "s", nil, "2 h"}, {-0.5, "s", nil, "-500 ms"}, {604800, "s", nil, "7 d"},
		{0.12345, "percentunit", nil, "12.3 %"}, {0.12345, "percentunit", &two, "12.35 %"}, {1, "percentunit", nil, "100 %"},
		{12.34, "reqps", nil, "12.3 req/s"}, {1500, "ops", nil, "1.5 K ops/s"}, {3 << 30, "bytes", nil, "3 GiB"},
		{512, "bytes", nil, "512 B"}, {1234567, "short", nil, "1.23 M"}, {1234567, "none", nil, "1234567"},
		{0.5, "", nil, "0.5"}, {3, "short", &two, "3.00"}, {math.Inf(1), "s", nil, "+Inf"},
		{math.Inf(-1), "short", nil, "-Inf"}, {math.NaN(), "s", nil, "no number"},
	} {
		if got := number(tc.value, tc.unit, tc.decimals); got != tc.want {
			t.Errorf("number(%g, %s) = %q, want %q", tc.value, tc.unit, got, tc.want)
		}
	}
}

// TestScalesAreRound in the unit that their values are written in.
func TestScalesAreRound(t *testing.T) {
	for _, tc := range []struct {
		highest float64
		unit    string
		want    string
	}{
		{80e6, "short", "0 20 M 40 M 60 M 80 M"}, {80e6, "bytes", "0 B 20 MiB 40 MiB 60 MiB 80 MiB"},
		{0.083, "percentunit", "0 % 2.5 % 5 % 7.5 % 10 %"},
		{9000, "bytes", "0 B 2.5 KiB 5 KiB 7.5 KiB 10 KiB"},
	} {
		s := scaleOf(0, tc.highest, &field{Unit: tc.unit})
		var got []string
		for value := s.low; value <= s.high+s.step/2; value += s.step {
			got = append(got, number(value, tc.unit, nil))
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("the scale up to %g in %s is %v, want %s", tc.highest, tc.unit, got, tc.want)
		}
	}
}

func TestWindows(t *testing.T) {
	now := noon.Add(17 * time.Second)
	for _, tc := range []struct {
		from, to  string
		refresh   time.Duration
		want, end time.Duration // before noon
	}{
		{"now-1h", "now", 30 * time.Second, time.Hour, 0},
		{"now-1h", "", 0, time.Hour - 10*time.Second, -10 * time.Second},
		{"now-2d", "now-1d", time.Minute, 48 * time.Hour, 24 * time.Hour},
		{fmt.Sprint(noon.Add(-3 * time.Hour).UnixMilli()), "now", time.Minute, 3 * time.Hour, 0},
		{"now-1s", "now", time.Minute, 6 * time.Hour, 0},
		{"now-900000w", "now", time.Minute, 6 * time.Hour, 0},
		{"now", "now-1h", time.Minute, 6 * time.Hour, 0},
		{"yesterday", "now", time.Minute, 6 * time.Hour, 0},
		{"-5", "now", time.Minute, 6 * time.Hour, 0},
	} {
		got := windowOf(tc.from, tc.to, now, tc.refresh)
		if want := (window{noon.Add(-tc.want), noon.Add(-tc.end)}); !got.from.Equal(want.from) || !got.to.Equal(want.to) {
			t.Errorf("%s to %s = %v, want %v", tc.from, tc.to, got, want)
		}
	}
}

func TestSteps(t *testing.T) {
	for _, tc := range []struct {
		length  time.Duration
		columns int
		least   time.Duration
		want    time.Duration
	}{
		{6 * time.Hour, 8, 30 * time.Second, 5 * time.Minute}, {6 * time.Hour, 24, 30 * time.Second, time.Minute},
		{5 * time.Minute, 24, 15 * time.Second, 15 * time.Second}, {time.Minute, 8, time.Hour, time.Minute},
		{400 * 24 * time.Hour, 1, time.Second, 400 * 24 * time.Hour / pointsPerColumn},
	} {
		if got := stepOf(tc.length, tc.columns, tc.least); got != tc.want && tc.columns > 1 ||
			tc.length/got > maxPoints {
			t.Errorf("a step of %v in %d columns = %v, want %v", tc.length, tc.columns, got, tc.want)
		}
	}
	if got := rateInterval(time.Minute, 15*time.Second); got != 75*time.Second {
		t.Errorf("the rate interval is %v", got)
	}
	if got := rateInterval(15*time.Second, 30*time.Second); got != 2*time.Minute {
		t.Errorf("the rate interval is %v, want four scrapes", got)
	}
}

// TestVariables are expanded as Grafana does for Prometheus, and no value leaves its quotation
// marks.
func TestVariables(t *testing.T) {
	d := parse(t, []byte(`{"uid":"u","title":"T","templating":{"list":[
		{"name":"metric","type":"constant","query":"a_total"},
		{"name":"monitor","type":"custom","query":"api,web"},
		{"name":"broker","type":"custom","query":"main,other","multi":true,"includeAll":true,"allValue":".*",
		 "current":{"value":["$__all"]}},
		{"name":"queue","type":"query","query":{"query":"label_values(x{b=~\"$broker\"}, queue_name)"},"multi":true,
		 "includeAll":true,"current":{"value":["$__all"]}}]}}`))
	const text = `${metric:raw}{m="$monitor",b=~"$broker",q=~"${queue}"} $other [$__range]`
	for _, tc := range []struct{ query, want string }{
		{"", `a_total{m="api",b=~".*",q=~"(celery|emails)"} $other [9s]`},
		{"var-metric=b&var-monitor=web&var-broker=main&var-queue=a.b", `a_total{m="web",b=~"main",q=~"a\\.b"} $other [9s]`},
		{"var-monitor=none&var-broker=none", `a_total{m="api",b=~".*",q=~"(celery|emails)"} $other [9s]`},
		{"var-monitor=web&var-monitor=api", `a_total{m="web",b=~".*",q=~"(celery|emails)"} $other [9s]`},
		{"var-queue=a%22%7D&var-queue=%5C%0A", `a_total{m="api",b=~".*",q=~"(a\"\\}|\\\\\n)"} $other [9s]`},
	} {
		request, err := url.ParseQuery(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		in := d.choose(t.Context(), newSource(newFake(t).client(t)), window{noon.Add(-time.Hour), noon}, request)
		if got := in.expand(text, map[string]string{"__range": "9s"}); got != tc.want {
			t.Errorf("%q:\n%s, want\n%s", tc.query, got, tc.want)
		}
	}
}

func TestLegends(t *testing.T) {
	labels := map[string]string{"a": "1", "b": "2"}
	for format, want := range map[string]string{
		"": "1 2", "{{a}}": "1", "{{ b }} of {{missing}}": "2 of", "{{a": "{{a", "all": "all", "__auto": "1 2",
	} {
		if got := legend(format, labels); got != want {
			t.Errorf("legend(%q) = %q, want %q", format, got, want)
		}
	}
}

// TestHeatmapCountsBetweenBoundaries, also where a scrape came between two buckets.
func TestHeatmapCountsBetweenBoundaries(t *testing.T) {
	of := func(le string, values ...float64) line {
		l := line{labels: map[string]string{"le": le}}
		for i, value := range values {
			l.points = append(l.points, promclient.Point{At: float64(i), Value: value})
		}
		return l
	}
	all, highest := buckets([]line{of("+Inf", 10, 5, 7), of("0.5", 2, 6, math.NaN()), of("1", 6, 5, 7)})
	var got []string
	for _, b := range all {
		got = append(got, fmt.Sprint(b.boundary, b.points))
	}
	want := []string{"0.5 [{0 2} {1 6}]", "1 [{0 4} {1 0} {2 7}]", "+Inf [{0 4} {1 0} {2 0}]"}
	if highest != 7 || !slices.Equal(got, want) {
		t.Errorf("highest %g, buckets %v, want %v", highest, got, want)
	}
}

func TestMarkdownIsText(t *testing.T) {
	var got []string
	const text = "# Head\nSome `code` and\n**bold**, *italic*, 2 * 3.\n\n" +
		"- [page](https://example.com)\n- [x](javascript:1)\n<b>"
	for _, p := range markdown(text) {
		for _, s := range p.Spans {
			got = append(got, fmt.Sprintf("%t %t %+v", p.Heading, p.Item, s))
		}
	}
	want := []string{
		"true false {Text:Head URL: Bold:false Italic:false Code:false}",
		"false false {Text:Some  URL: Bold:false Italic:false Code:false}",
		"false false {Text:code URL: Bold:false Italic:false Code:true}",
		"false false {Text: and URL: Bold:false Italic:false Code:false}",
		"false false {Text:  URL: Bold:false Italic:false Code:false}",
		"false false {Text:bold URL: Bold:true Italic:false Code:false}",
		"false false {Text:,  URL: Bold:false Italic:false Code:false}",
		"false false {Text:italic URL: Bold:false Italic:true Code:false}",
		"false false {Text:, 2 * 3. URL: Bold:false Italic:false Code:false}",
		"false true {Text:page URL:https://example.com Bold:false Italic:false Code:false}",
		"false true {Text:[x](javascript:1) URL: Bold:false Italic:false Code:false}",
		"false true {Text: <b> URL: Bold:false Italic:false Code:false}",
	}
	if diff := cmp.Diff(strings.Join(want, "\n"), strings.Join(got, "\n")); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
}

// BenchmarkPage is a dashboard of 60 panels over 6 hours, from a server beside it.
func BenchmarkPage(b *testing.B) {
	d := parse(b, []byte(`{"uid":"u","title":"T","panels":[`+strings.TrimSuffix(strings.Repeat(
		`{"title":"P","type":"timeseries","gridPos":{"w":8,"h":8},
		"targets":[{"expr":"sum by (a) (rate(b[$__rate_interval]))","interval":"30s"}]},`, 60), ",")+`]}`))
	for i := range d.Panels {
		d.Panels[i].Targets[0].Expr += fmt.Sprintf(" + %d", i)
	}
	f := newFake(b)
	for b.Loop() {
		if code := get(b, newViewer(b, f, d), "/d/u?from=now-6h").Code; code != 200 {
			b.Fatal(code)
		}
	}
}
