// SPDX-License-Identifier: Apache-2.0

package promclient

import (
	"encoding/json"
	"errors"
	"io"
)

// decoder reads JSON value by value, each of which may take its limit and all together bodyLimit.
type decoder struct {
	json *json.Decoder
	body *budget
}

func newDecoder(body io.Reader, limit int) decoder {
	b := &budget{Reader: body, limit: limit, total: bodyLimit}
	return decoder{json.NewDecoder(b), b}
}

// budget is a reader that fails where more is read than may be.
type budget struct {
	io.Reader
	// limit of a value, and what is left of it and of all.
	limit, value, total int
	// failed is why it could not be read to its end.
	failed error
}

// Read implements io.Reader.
func (b *budget) Read(p []byte) (int, error) {
	left := min(b.value, b.total)
	if left <= 0 && b.failed == nil {
		b.failed = TooLarge
	}
	if b.failed != nil { // json's More drops an error, and what follows reads again.
		return 0, b.failed
	}
	n, err := b.Reader.Read(p[:min(len(p), left)])
	b.value -= n
	b.total -= n
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed = err
	}
	return n, err
}

// Decode the value that comes next.
func (d decoder) Decode(value any) error {
	d.body.value = d.body.limit
	return d.json.Decode(value)
}

// token that comes next.
func (d decoder) token() (json.Token, error) {
	d.body.value = d.body.limit
	return d.json.Token()
}

// object calls field for each key of an object, to read or skip its value.
func (d decoder) object(field func(key string) error) error {
	return d.inside('{', func() error {
		token, err := d.token()
		if err != nil {
			return err
		}
		key, _ := token.(string)
		return field(key)
	})
}

// array calls element for each element of an array, or of null, which has none.
func (d decoder) array(element func() error) error {
	return d.inside('[', element)
}

func (d decoder) inside(open json.Delim, each func() error) error {
	switch token, err := d.token(); {
	case err != nil:
		return err
	case token == nil:
		return nil
	case token != open:
		return NotUnderstood
	}
	for d.json.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err := d.token()
	return err
}

// depthLimit bounds how deep values are nested, because json keeps each level.
const depthLimit = 100

// skip the value that comes next, however large.
func (d decoder) skip() error {
	for depth := 0; ; {
		token, err := d.token()
		if err != nil {
			return err
		}
		if depth > depthLimit {
			return NotUnderstood
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// response calls data where the data of a response of the API begins, and reports whether the
// server warns of it.
func (d decoder) response(data func(decoder) error) (warned bool, err error) {
	var status string
	err = d.object(func(key string) error {
		switch key {
		case "status":
			return d.Decode(&status)
		case "data":
			return data(d)
		case "warnings":
			return d.array(func() error {
				warned = true
				return d.skip()
			})
		}
		return d.skip()
	})
	switch {
	case err != nil && d.body.failed != nil:
		return warned, FailureOf(d.body.failed)
	case err != nil || status != "success":
		return warned, NotUnderstood
	}
	return warned, nil
}
