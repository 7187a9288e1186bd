package mollymawk

import (
	"bytes"
	"encoding/json"
	"sync"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/internal/services"
)

// rendered keeps lists of unikernels as JSON. Callers get the same list until a
// host was looked at again, and to encode a long one takes longer than all else.
type rendered struct {
	mu   sync.Mutex
	all  map[renderedKey]renderedList
	size int
}

// renderedKey is whose list it is, and on which instance.
type renderedKey struct{ namespace, instance string }

type renderedList struct {
	// of is what was encoded. Nobody changes it, so what begins at the same address
	// and is as long is the same.
	of   []albatross.Unikernel
	json []byte
}

// maxRendered is how many bytes are kept. More than all the lists of as many
// unikernels as one operator looks after would have.
const maxRendered = 16 << 20

// list gives the JSON of an instance's unikernels, which must not be changed.
func (r *rendered) list(namespace string, found services.InstanceUnikernels) []byte {
	if len(found.Unikernels) == 0 {
		return []byte("[]")
	}
	key := renderedKey{namespace, found.Instance}
	if known, ok := r.get(key); ok && sameList(known.of, found.Unikernels) {
		return known.json
	}
	views := make([]unikernelView, 0, len(found.Unikernels))
	for _, u := range found.Unikernels {
		views = append(views, showUnikernel(u))
	}
	encoded := encode(views)
	r.put(key, renderedList{found.Unikernels, encoded})
	return encoded
}

func sameList(a, b []albatross.Unikernel) bool { return len(a) == len(b) && &a[0] == &b[0] }

func (r *rendered) get(key renderedKey) (renderedList, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.all[key]
	return known, ok
}

// put keeps a list in the place of the one before. When there are too many, all go:
// those that are asked for come back.
func (r *rendered) put(key renderedKey, list renderedList) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.size += len(list.json) - len(r.all[key].json)
	if r.all == nil || r.size > maxRendered {
		r.all, r.size = map[renderedKey]renderedList{}, len(list.json)
	}
	r.all[key] = list
}

// encode gives JSON with / < > & as they are.
func encode(value any) []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // what handlers give can be encoded
	}
	return text.Bytes()[:text.Len()-1] // without the line's end
}
