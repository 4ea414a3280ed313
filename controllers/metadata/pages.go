// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"context"
	"iter"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WholePage keeps a page of whole objects small: one may have a MiB and a half and takes four times
// as much in memory, and several passes list at once.
const WholePage = client.Limit(20)

// pageTimeout bounds how long one page takes: others wait for who asked.
const pageTimeout = 30 * time.Second

// Pages lists objects a page at a time, each into a list that empty makes, and as many as the
// option client.Limit allows: whoever may make objects in one namespace would fill the memory
// otherwise. The API server is asked for a page when the one before was used.
func Pages[L client.ObjectList](ctx context.Context, live client.Reader, empty func() L,
	opts ...client.ListOption) iter.Seq2[L, error] {
	return func(yield func(L, error) bool) {
		next := ""
		for more := true; more; more = next != "" {
			page := empty()
			err := listPage(ctx, live, page, append(slices.Clip(opts), client.Continue(next))...)
			if next = page.GetContinue(); !yield(page, err) || err != nil {
				return
			}
		}
	}
}

func listPage(ctx context.Context, live client.Reader, page client.ObjectList, opts ...client.ListOption) error {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	return live.List(ctx, page, opts...)
}
