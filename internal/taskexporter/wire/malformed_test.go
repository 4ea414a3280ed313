// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTextsThatAreNoMessages(t *testing.T) {
	good := string(envelope(received))
	tests := map[string]struct {
		message string
		want    error
	}{
		"empty":              {"", ErrEnvelope},
		"null":               {"null", ErrEnvelope},
		"number":             {"5", ErrEnvelope},
		"list":               {"[]", ErrEnvelope},
		"string":             {`"x"`, ErrEnvelope},
		"empty object":       {"{}", ErrEnvelope},
		"not JSON":           {"hello", ErrEnvelope},
		"invalid UTF-8 only": {"\xff\xfe", ErrEnvelope},
		"cut off":            {good[:len(good)/2], ErrEnvelope},
		"something behind":   {good + "x", ErrEnvelope},
		"without properties": {strings.Replace(good, `"properties"`, `"other"`, 1), ErrEnvelope},
		"without body":       {strings.Replace(good, `"body"`, `"other"`, 1), ErrEnvelope},
		"properties a list":  {strings.Replace(good, `{"body_encoding": "base64"}`, `[]`, 1), ErrEnvelope},
		"unknown encoding":   {strings.Replace(good, `"base64"`, `"base85"`, 1), ErrEnvelope},
		"body not base64": {
			`{"body": "%%%", "content-type": "application/json", "properties": {"body_encoding": "base64"}}`, ErrEnvelope,
		},
		"body a number":        {`{"body": 5, "content-type": "application/json", "properties": {}}`, ErrEnvelope},
		"without content type": {strings.Replace(good, `"content-type"`, `"other"`, 1), ErrContentType},
		"content type null":    {strings.Replace(good, `"application/json"`, `null`, 1), ErrContentType},
		"pickle":               {strings.Replace(good, `application/json`, `application/x-python-serialize`, 1), ErrPickle},
		"another type":         {strings.Replace(good, `application/json`, `application/data`, 1), ErrContentType},
		"UTF-16":               {strings.Replace(good, `utf-8`, `utf-16`, 1), ErrContentType},
		"unknown compression":  {strings.Replace(good, `"hostname": "w@h"`, `"compression": "lzma"`, 1), ErrContentType},
		"wrong compression":    {strings.Replace(good, `"hostname": "w@h"`, `"compression": "gzip"`, 1), ErrBody},
		"deep nesting":         {strings.Repeat("[", 5000), ErrEnvelope},
		"body cut off":         {string(envelope(received[:40])), ErrBody},
		"body empty":           {string(envelope("")), ErrBody},
		"body deep": {
			string(envelope(`{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}")), ErrBody,
		},
		"two bodies":          {string(envelope(received + received)), ErrBody},
		"trailing comma":      {string(envelope("[" + received + ",]")), ErrBody},
		"missing comma":       {string(envelope("[" + received + received + "]")), ErrBody},
		"list without an end": {string(envelope("[" + received)), ErrBody},
		"too many events":     {string(envelope("[" + strings.Repeat(received+",", maxEvents+1) + received + "]")), ErrBody},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			events, _, err := d.Decode([]byte(tc.message), Format{Enveloped: true})
			if !errors.Is(err, tc.want) || len(events) != 0 {
				t.Errorf("%d events, error %v, want none and %v", len(events), err, tc.want)
			}
		})
	}
}

// outcome is what became of one event.
type outcome struct{ Events, Refused, Malformed int }

var refused, ignored, fine = outcome{Refused: 1}, outcome{Events: 1, Malformed: 1}, outcome{Events: 1}

var malformedEvents = map[string]struct {
	body string
	want outcome
}{
	"a number":              {"5", refused},
	"a string":              {`"x"`, refused},
	"null":                  {"null", refused},
	"list of numbers":       {"[1, 2]", outcome{Refused: 2}},
	"empty list":            {"[]", outcome{}},
	"good, bad, good":       {"[" + received + ", {}, " + received + "]", outcome{Events: 2, Refused: 1}},
	"without type":          {without("type"), refused},
	"without uuid":          {without("uuid"), refused},
	"without hostname":      {without("hostname"), refused},
	"without timestamp":     {without("timestamp"), fine},
	"type a list":           {with("type", "[]"), refused},
	"uuid a list":           {with("uuid", "[]"), refused},
	"uuid null":             {with("uuid", "null"), refused},
	"uuid empty":            {with("uuid", `""`), refused},
	"hostname null":         {with("hostname", "null"), refused},
	"hostname a number":     {with("hostname", "5"), refused},
	"name a list":           {with("name", "[1]"), ignored},
	"name null":             {with("name", "null"), fine},
	"name a number":         {with("name", "5"), ignored},
	"queue a list":          {with("queue", `["a"]`), ignored},
	"timestamp a string":    {with("timestamp", `"1"`), ignored},
	"timestamp null":        {with("timestamp", "null"), fine},
	"timestamp huge":        {with("timestamp", "1e300"), ignored},
	"timestamp negative":    {with("timestamp", "-1"), ignored},
	"timestamp overflowing": {with("timestamp", "1e999"), ignored},
	"utcoffset a string":    {with("utcoffset", `"x"`), fine},
	"clock a string":        {with("clock", `"x"`), fine},
	"clock null":            {with("clock", "null"), fine},
	"runtime null":          {with("runtime", "null"), fine},
	"runtime a string":      {with("runtime", `"1"`), ignored},
	"runtime negative":      {with("runtime", "-5"), ignored},
	"runtime NaN":           {with("runtime", "NaN"), ignored},
	"runtime infinite":      {with("runtime", "Infinity"), ignored},
	"runtime -infinite":     {with("runtime", "-Infinity"), ignored},
	"exception a number":    {with("exception", "5"), ignored},
	"exception null":        {with("exception", "null"), fine},
	"eta no date":           {with("eta", `"soon"`), ignored},
	"eta a number":          {with("eta", "5"), ignored},
	"active a string":       {with("active", `"2"`), ignored},
	"active negative":       {with("active", "-2"), ignored},
	"processed an object":   {with("processed", "{}"), ignored},
	"repeated key":          {with("name", `"a", "name": "b"`), fine},
	"unknown fields":        {with("x", `{"a": [1, {"b": null}], "c": true}`), fine},
	"unknown type":          {with("type", `"task-progress"`), fine},
	"type with an escape":   {with("type", `"task\u002dreceived"`), fine},
}

func TestMalformedEventsAreRefusedOrRead(t *testing.T) {
	for name, tc := range malformedEvents {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			events, bad, err := d.Decode(envelope(tc.body), Format{Enveloped: true})
			if err != nil {
				t.Fatal(err)
			}
			got := outcome{Events: len(events), Refused: bad}
			for _, e := range events {
				got.Malformed += e.Malformed
			}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

// with returns an event with one field set to a text, without one that lacks it.
func with(field, value string) string {
	return strings.TrimSuffix(without(field), "}") + fmt.Sprintf(", %q: %s}", field, value)
}

func without(field string) string {
	fields := []string{}
	for _, pair := range [][2]string{
		{"type", `"task-received"`}, {"uuid", `"u"`}, {"hostname", `"w@h"`}, {"timestamp", "1"},
	} {
		if pair[0] != field {
			fields = append(fields, fmt.Sprintf("%q: %s", pair[0], pair[1]))
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}
