// SPDX-License-Identifier: Apache-2.0

package viewer

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// annotated is a graph with annotations.
func annotated(t *testing.T, annotations string) *Dashboard {
	t.Helper()
	return parse(t, []byte(`{"uid":"u","title":"T","annotations":{"list":[`+annotations+`]},
		"templating":{"list":[{"name":"stack","type":"constant","query":"shop"}]},
		"panels":[{"title":"P","type":"timeseries","gridPos":{"w":24,"h":8},"targets":[{"expr":"x"}]},
		{"title":"H","type":"heatmap","gridPos":{"w":24,"h":8},"targets":[{"expr":"y"}]}]}`))
}

const alertsAndStarts = `{"name":"Alerts","enable":true,"iconColor":"red","titleFormat":"{{alertname}}",
	"textFormat":"{{severity}} {{absent}} of $stack","target":{"expr":"ALERTS{stack=\"$stack\"}","interval":"1m"}},
	{"name":"Starts","enable":true,"iconColor":"blue","useValueForTime":true,"target":{"expr":"start"}},
	{"name":"Off","iconColor":"blue","target":{"expr":"off"}}`

// at is a sample so many minutes before noon.
func at(minutes int, value string) string {
	return fmt.Sprintf(`[%d,%q]`, noon.Add(-time.Duration(minutes)*time.Minute).Unix(), value)
}

var listed = regexp.MustCompile(`<li class="([^"]*)"[^>]*>([^<]*)</li>`)

func listOf(body string) (all []string) {
	for _, found := range listed.FindAllStringSubmatch(body, -1) {
		all = append(all, found[1]+" "+found[2])
	}
	return all
}

// TestAnnotationsMarkTimes as Grafana does: what lasts is one mark, the same again another.
func TestAnnotationsMarkTimes(t *testing.T) {
	f := newFake(t)
	f.respond = func(w http.ResponseWriter, r *http.Request) {
		series := ""
		switch query := r.URL.Query().Get("query"); query {
		case `ALERTS{stack="shop"}`:
			series = fmt.Sprintf(`{"metric":{"alertname":"A<b>","severity":"critical"},"values":[%s,%s,%s,%s,%s]}`,
				at(50, "0"), at(40, "1"), at(39, "1"), at(38, "1"), at(20, "1"))
		case "start":
			value := fmt.Sprint(noon.Add(-30 * time.Minute).UnixMilli())
			old := fmt.Sprint(noon.Add(-time.Hour - time.Second).UnixMilli())
			series = fmt.Sprintf(`{"metric":{"pod":"a"},"values":[%s,%s]},{"metric":{"pod":"b"},"values":[%s,%s,%s]}`,
				at(30, value), at(0, value), at(9, "NaN"), at(8, "-1"), at(7, old))
		case "x", "y":
			series = fmt.Sprintf(`{"metric":{},"values":[%s]}`, at(10, "1"))
		default:
			t.Errorf("asked for %s", query)
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"result":[`+series+`]}}`)
	}
	body := get(t, newViewer(t, f, annotated(t, alertsAndStarts)), "/d/u?from=now-1h").Body.String()
	want := []string{
		"k-red 2026-05-04 11:20:00 to 11:22:00 A&lt;b&gt; critical of shop",
		"k-blue 2026-05-04 11:30:00 Starts",
		"k-red 2026-05-04 11:40:00 A&lt;b&gt; critical of shop",
	}
	if diff := cmp.Diff(want, listOf(body)); diff != "" {
		t.Errorf("marks (-want +got):\n%s", diff)
	}
	for mark, want := range map[string]int{
		`<path class="k-red d" `: 4, `<path class="k-blue d" `: 2, `<rect class="k-red f" fill-opacity="0.04"`: 2,
	} {
		if got := strings.Count(body, mark); got != want {
			t.Errorf("%d times %s in a graph and a heat map, want %d", got, mark, want)
		}
	}
}

// TestAnnotationsSayWhatIsWrong with them, and mark a page with no more than can be read.
func TestAnnotationsSayWhatIsWrong(t *testing.T) {
	f := newFake(t)
	f.respond = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("query") != "many" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var samples []string
		for minutes := 59; minutes >= 0; minutes-- {
			samples = append(samples, at(minutes, fmt.Sprint(noon.Add(-time.Duration(minutes)*time.Minute).UnixMilli())))
		}
		_, _ = io.WriteString(w, `{"status":"success","data":{"result":[{"metric":{},"values":[`+
			strings.Join(samples, ",")+`]}]}}`)
	}
	body := get(t, newViewer(t, f, annotated(t, `{"name":"Many","enable":true,"useValueForTime":true,"iconColor":"red",
		"target":{"expr":"many"}},{"name":"Gone","enable":true,"iconColor":"red","target":{"expr":"gone"}},
		{"name":"Own","enable":true,"iconColor":"red"},{"name":"Pink","iconColor":"#f0f","target":{"expr":"x"}}`)),
		"/d/u?from=now-1h").Body.String()
	got := listOf(body)
	if len(got) != maxMarks+4 || got[maxMarks-1] != "k-red 2026-05-04 12:00:00 Many" {
		t.Errorf("%d marks and notes: %v", len(got), got)
	}
	for _, want := range []string{
		"note 10 older marks are not drawn", "note Not drawn: annotation &#34;Own&#34; without a query",
		"note Not drawn: annotation &#34;Pink&#34; in colour &#34;#f0f&#34;",
		"note Gone: Prometheus: it responds with an error",
	} {
		if !strings.Contains(strings.Join(got, "\n"), want) {
			t.Errorf("it does not say %s: %v", want, got)
		}
	}
}

// TestStillIsWhole: all rows are open, and nothing is loaded or run.
func TestStillIsWhole(t *testing.T) {
	d := parse(t, []byte(`{"uid":"u","title":"T <b>","panels":[{"title":"Folded","type":"row","collapsed":true,
		"panels":[{"title":"Inside","type":"timeseries","gridPos":{"y":1,"w":24,"h":8},"targets":[{"expr":"x"}]}]}],
		"templating":{"list":[{"name":"m","label":"Monitor","type":"custom","query":"api,web"}]}}`))
	v := newViewer(t, newFake(t), d)
	still := v.Still(t.Context(), d)
	for _, want := range []string{
		`<details class="row" open>`, `<h1>T &lt;b&gt;</h1>`, ".panel", "</style>", "<svg ", "</html>",
		"2026-05-04 06:00:00 UTC to 2026-05-04 12:00:00 · Monitor: api",
	} {
		if !strings.Contains(still, want) {
			t.Errorf("it lacks %s:\n%s", want, still)
		}
	}
	for _, bad := range []string{"<script", "href=", "src=", "url(", "@import", "data-readings", "<form"} {
		if strings.Contains(still, bad) {
			t.Errorf("it has %s", bad)
		}
	}
	if body := get(t, v, "/d/u").Body.String(); strings.Contains(body, " open>") {
		t.Error("the page unfolds the row")
	}
}
