// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"
	"go.yaml.in/yaml/v3"
)

// The content types of kombu's serializers (kombu/serialization.py).
const (
	typeJSON    = "application/json"
	typeMsgpack = "application/x-msgpack"
	typeYAML    = "application/x-yaml"
	typePickle  = "application/x-python-serialize"
)

// Bodies that are converted are bounded, in bytes: JSON is up to six times as long as MessagePack,
// and a parsed YAML document takes a hundred times its text. Celery sends kilobytes.
const (
	maxMsgpack = 4 << 20
	maxYAML    = 256 << 10
)

// ErrPickle is an ErrContentType that users can do something about.
var ErrPickle = fmt.Errorf("pickle is not read, because reading one runs what is in it: "+
	"set event_serializer, task_serializer and result_serializer to json in the Celery application: %w", ErrContentType)

// JSON returns a body as JSON text, whatever it was serialized and compressed with. The result may
// be a part of the body. The error is ErrContentType, for pickle ErrPickle, or ErrBody.
func (f Format) JSON(body []byte) ([]byte, error) {
	switch f.ContentType {
	case typeJSON, typeMsgpack, typeYAML:
	case typePickle:
		return nil, ErrPickle
	default:
		return nil, ErrContentType
	}
	// Kombu says "binary" for compressed bodies and MessagePack, and "utf-8" for text. ASCII is a
	// part of UTF-8; in any other encoding, names would be read wrongly and not at all refused.
	switch f.ContentEncoding {
	case "", "utf-8", "UTF-8", "us-ascii", "ascii", "binary":
	default:
		return nil, ErrContentType
	}
	if f.Compression != "" {
		var err error
		if body, err = decompress(body, f.Compression); err != nil {
			return nil, err
		}
	}
	switch f.ContentType {
	case typeMsgpack:
		return msgpackToJSON(body)
	case typeYAML:
		return yamlToJSON(body)
	}
	return body, nil
}

func msgpackToJSON(body []byte) ([]byte, error) {
	if len(body) > maxMsgpack {
		return nil, ErrBody
	}
	var text bytes.Buffer
	if _, err := msgp.UnmarshalAsJSON(&text, body); err != nil {
		return nil, ErrBody
	}
	return text.Bytes(), nil
}

func yamlToJSON(body []byte) ([]byte, error) {
	if len(body) > maxYAML {
		return nil, ErrBody
	}
	var value any
	if yaml.Unmarshal(body, &value) != nil {
		return nil, ErrBody
	}
	text, err := json.Marshal(value)
	if err != nil {
		return nil, errors.Join(ErrBody, err) // a number that JSON has not, or a key that is no string
	}
	return text, nil
}
