// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// record says what a file of the cache was when it was complete. It lies beside the file, and a
// file that does not match it, or has none, is made anew.
type record struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	SHA256   string    `json:"sha256"`
}

func recordPath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".json")
}

// keep puts a complete file in its place in the cache, with its record. Whoever uses the file that
// was there before is not disturbed.
func keep(complete, path string) error {
	r, err := recordOf(complete)
	if err != nil {
		return err
	}
	return errors.Join(r.write(path), os.Rename(complete, path))
}

// keepContent is keep for what is in memory.
func keepContent(content []byte, path string) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return keep(temporary, path)
}

// recordOf reads a file to the end.
func recordOf(path string) (record, error) {
	file, err := os.Open(path)
	if err != nil {
		return record{}, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return record{}, err
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return record{}, err
	}
	return record{info.Size(), info.ModTime(), hex.EncodeToString(hash.Sum(nil))}, nil
}

// write puts the record beside path.
func (r record) write(path string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temporary := fmt.Sprintf("%s.%d", recordPath(path), os.Getpid())
	if err := os.WriteFile(temporary, content, 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, recordPath(path))
}

// intact reports whether the file at path is the one that was kept there. A file is read only if
// it was written since, or brought back by a cache that rounds times.
func intact(path string) bool {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	content, err := os.ReadFile(recordPath(path))
	if err != nil {
		return false
	}
	var kept record
	if json.Unmarshal(content, &kept) != nil || info.Size() != kept.Size || kept.Size == 0 {
		return false
	}
	if info.ModTime().Equal(kept.Modified) {
		return true
	}
	now, err := recordOf(path)
	if err != nil || now.SHA256 != kept.SHA256 {
		return false
	}
	_ = now.write(path) // Only saves reading it the next time.
	return true
}
