// SPDX-License-Identifier: Apache-2.0

package promclient

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Series of a range query.
type Series struct {
	Labels map[string]string
	Points []Point
}

// Point is a value at a time, in seconds since 1970.
type Point struct{ At, Value float64 }

// Range is what a range query is about.
type Range struct {
	From, To time.Time
	Step     time.Duration
}

// Partly says what a response lacks.
type Partly struct {
	// More series or values are there than were asked for.
	More bool
	// Warned reports whether the server warns of the response, as one does that stands before others
	// of which one does not respond.
	Warned bool
}

// errEnough ends a response of which no more is wanted.
var errEnough = errors.New("no more is wanted")

// QueryAt evaluates an expression, which must give a vector, at a time. It reads at most limit
// samples, and accepts a response that lacks what a server behind another has.
func (c Client) QueryAt(
	ctx context.Context, expr string, at time.Time, limit int, each func(Sample),
) (Partly, error) {
	params := url.Values{"query": {expr}, "time": {seconds(at)}}
	return c.some(ctx, "query", params, limit, func(d decoder) error {
		var sample struct {
			Metric map[string]string
			Value  pair
		}
		if err := d.Decode(&sample); err != nil {
			return err
		}
		each(Sample{sample.Metric, sample.Value.Value})
		return nil
	})
}

// QueryRange evaluates an expression, which must give a vector, at each step of a range. It reads
// at most limit series, and accepts a response that lacks what a server behind another has.
func (c Client) QueryRange(
	ctx context.Context, expr string, r Range, limit int, each func(Series),
) (Partly, error) {
	params := url.Values{
		"query": {expr}, "start": {seconds(r.From)}, "end": {seconds(r.To)},
		"step": {strconv.FormatFloat(r.Step.Seconds(), 'f', -1, 64)},
	}
	return c.some(ctx, "query_range", params, limit, func(d decoder) error {
		var series struct {
			Metric map[string]string
			Values []pair
		}
		if err := d.Decode(&series); err != nil {
			return err
		}
		points := make([]Point, len(series.Values))
		for i, value := range series.Values {
			points[i] = Point(value)
		}
		each(Series{series.Metric, points})
		return nil
	})
}

// LabelValues are at most limit values that a label has in a range, of series that a selector
// selects; of all series without one.
func (c Client) LabelValues(
	ctx context.Context, label, selector string, r Range, limit int, each func(string),
) (Partly, error) {
	params := url.Values{"start": {seconds(r.From)}, "end": {seconds(r.To)}, "limit": {strconv.Itoa(limit + 1)}}
	if selector != "" {
		params.Set("match[]", selector)
	}
	n := 0
	warned, err := c.read(ctx, "label/"+url.PathEscape(label)+"/values", params, func(d decoder) error {
		return d.array(func() error {
			if n++; n > limit {
				return errEnough
			}
			var value string
			if err := d.Decode(&value); err != nil {
				return err
			}
			each(value)
			return nil
		})
	})
	return enough(n > limit, warned, err)
}

// some elements of a result. Newer servers know the parameter limit, and send no more.
func (c Client) some(
	ctx context.Context, path string, params url.Values, limit int, element func(decoder) error,
) (Partly, error) {
	params.Set("limit", strconv.Itoa(limit+1))
	n := 0
	warned, err := c.stream(ctx, path, params, "result", func(d decoder) error {
		if n++; n > limit {
			return errEnough
		}
		return element(d)
	})
	return enough(n > limit, warned, err)
}

// enough is no error: the response was not read to its end.
func enough(more, warned bool, err error) (Partly, error) {
	if more {
		return Partly{More: true}, nil
	}
	return Partly{Warned: warned}, err
}

func seconds(at time.Time) string {
	return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)
}

// pair is Prometheus' [time, "value"].
type pair Point

// UnmarshalJSON implements json.Unmarshaler. A range query has many of them, so their JSON is
// cut by hand.
func (p *pair) UnmarshalJSON(content []byte) error {
	at, value, found := cutPair(content)
	if !found {
		return NotUnderstood
	}
	var err error
	if p.At, err = strconv.ParseFloat(at, 64); err != nil {
		return NotUnderstood
	}
	if p.Value, err = strconv.ParseFloat(value, 64); err != nil {
		return NotUnderstood
	}
	return nil
}

// cutPair returns what is between the brackets.
func cutPair(content []byte) (at, value string, found bool) {
	inside, opens := strings.CutPrefix(string(content), "[")
	inside, closes := strings.CutSuffix(inside, "]")
	at, value, found = strings.Cut(inside, ",")
	text, quoted := strings.CutPrefix(strings.TrimSpace(value), `"`)
	text, ends := strings.CutSuffix(text, `"`)
	return strings.TrimSpace(at), text, opens && closes && found && quoted && ends
}
