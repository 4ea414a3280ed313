// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"compress/bzip2"
	"compress/zlib"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxDecompressed bounds what a compressed body may unpack to, in bytes.
const maxDecompressed = 8 << 20

// decompress undoes kombu's compression (kombu/compression.py, whose "gzip" is in fact zlib).
func decompress(body []byte, method string) ([]byte, error) {
	var reader io.Reader
	switch method {
	case "application/x-gzip", "gzip", "zlib":
		z, err := zlib.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, ErrBody
		}
		reader = z
	case "application/x-bz2", "application/x-bzip2", "bzip2", "bzip":
		reader = bzip2.NewReader(bytes.NewReader(body))
	case "application/zstd", "zstd", "zstandard":
		z, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderMaxMemory(maxDecompressed))
		if err != nil {
			return nil, ErrBody
		}
		defer z.Close()
		reader = z
	default:
		return nil, fmt.Errorf("unknown compression: %w", ErrContentType)
	}
	// One byte more than allowed distinguishes a body that is too large from one that fits exactly.
	plain, err := io.ReadAll(io.LimitReader(reader, maxDecompressed+1))
	if err != nil || len(plain) > maxDecompressed {
		return nil, ErrBody
	}
	return plain, nil
}
