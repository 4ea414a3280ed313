// SPDX-License-Identifier: Apache-2.0

package promclient

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var anHour = Range{From: time.Unix(1000, 0), To: time.Unix(4600, 0), Step: 15 * time.Second}

func TestQueryRangeReadsSeries(t *testing.T) {
	server, asked := fake(t, 200, `{"status":"success","data":{"resultType":"matrix","result":[
		{"metric":{"code":"200"},"values":[[1000,"1"],[1015.5, "+Inf"]]},{"metric":{},"values":[]},
		{"metric":{"code":"500"},"values":[[1000,"2"]]}]}}`)
	var got []Series
	partly, err := server.QueryRange(t.Context(), "up", anHour, 2, func(s Series) { got = append(got, s) })
	want := []Series{
		{map[string]string{"code": "200"}, []Point{{1000, 1}, {1015.5, math.Inf(1)}}},
		{map[string]string{}, []Point{}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || !partly.More {
		t.Errorf("more: %t, error %v, series (-want +got):\n%s", partly.More, err, diff)
	}
	for _, want := range []string{"query_range?", "start=1000.000", "end=4600.000", "step=15", "limit=3", "query=up"} {
		if !strings.Contains((*asked)[0], want) {
			t.Errorf("asked %s, which lacks %s", (*asked)[0], want)
		}
	}
}

func TestQueryAtReadsSamplesOfATime(t *testing.T) {
	server, asked := fake(t, 200, `{"status":"success","warnings":["one is away"],"data":{"resultType":"vector","result":[
		{"metric":{"a":"b"},"value":[1000,"NaN"]}]}}`)
	var got []Sample
	partly, err := server.QueryAt(t.Context(), "up", anHour.To, 1, func(s Sample) { got = append(got, s) })
	if err != nil || partly != (Partly{Warned: true}) || len(got) != 1 || !math.IsNaN(got[0].Value) {
		t.Errorf("samples %v, %+v, error %v", got, partly, err)
	}
	if !strings.Contains((*asked)[0], "time=4600.000") {
		t.Errorf("asked %s", (*asked)[0])
	}
}

func TestLabelValuesAreThoseOfASelector(t *testing.T) {
	server, asked := fake(t, 200, `{"status":"success","data":["a","b","c"]}`)
	var got []string
	partly, err := server.LabelValues(t.Context(), "queue/name", `{a="b"}`, anHour, 2,
		func(value string) { got = append(got, value) })
	if err != nil || !partly.More || strings.Join(got, " ") != "a b" {
		t.Errorf("values %v, %+v, error %v", got, partly, err)
	}
	if got := (*asked)[0]; !strings.Contains(got, "label/queue%2Fname/values?") ||
		!strings.Contains(got, "match%5B%5D=%7Ba%3D%22b%22%7D") {
		t.Errorf("asked %s", got)
	}
}

func TestRangesThatAreNone(t *testing.T) {
	for _, values := range []string{`[[1,2]]`, `[["1","2"]]`, `[1]`, `[[1,"2"`, `[[1,"secret"]]`, `{}`, `[[null,"1"]]`} {
		server, _ := fake(t, 200, fmt.Sprintf(
			`{"status":"success","data":{"result":[{"metric":{},"values":%s}]}}`, values))
		_, err := server.QueryRange(t.Context(), "up", anHour, 9, func(Series) {})
		if !errors.Is(err, NotUnderstood) {
			t.Errorf("%s: error %v, want %v", values, err, NotUnderstood)
		}
	}
}

func TestClientsBoundValues(t *testing.T) {
	server, _ := fake(t, 200, fmt.Sprintf(
		`{"status":"success","data":{"result":[{"metric":{"a":%q},"values":[[1,"2"]]}]}}`, strings.Repeat("x", 100_000)))
	for limit, want := range map[int]error{0: nil, 10_000: TooLarge, 200_000: nil} {
		server.ValueLimit = limit
		_, err := server.QueryRange(t.Context(), "up", anHour, 9, func(Series) {})
		if !errors.Is(err, want) {
			t.Errorf("limit %d: error %v, want %v", limit, err, want)
		}
	}
}
