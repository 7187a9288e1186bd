package mollymawk_test

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/accounts"
	"mollymawk.dev/operator/internal/services"
)

// world stands in for the services and the hosts behind them. It speaks as hosts
// do, and has each thing under the namespace of the identity that it is given.
type world struct {
	mu         sync.Mutex
	instances  map[string]*host
	images     map[string][]byte
	unikernels map[string]albatross.Unikernel
	volumes    map[string]*volume
	// owned says who else declares the unikernel of a key.
	owned map[string]string
	// failure is what every call fails with, if it is set.
	failure error
	// lines is what consoles have.
	lines []services.Line
	// viewers is how many consoles are being read.
	viewers sync.WaitGroup
	live    chan services.Line
	created []services.CreateRequest
	restart []services.RestartRequest
	updated []services.UpdateRequest
	settled []services.InstanceRequest
	policy  []services.Policy
}

type host struct{ online bool }

type volume struct {
	size    int64
	used    bool
	content []byte
}

func newWorld() *world {
	return &world{
		instances: map[string]*host{"eu-west-2": {online: true}}, images: map[string][]byte{}, unikernels: map[string]albatross.Unikernel{},
		volumes: map[string]*volume{}, owned: map[string]string{}, live: make(chan services.Line),
	}
}

// at finds the host and gives the key of something of the caller on it.
func (w *world) at(id accounts.Identity, instance, name string) (key string, err error) {
	if w.failure != nil {
		return "", w.failure
	}
	h, known := w.instances[instance]
	switch {
	case !known:
		return "", &services.NotFound{What: "albatross instance", Name: instance}
	case !h.online:
		return "", &services.Unreachable{Instance: instance, Problem: "connection refused"}
	}
	return instance + "/" + id.Namespace + ":" + name, nil
}

func (w *world) Unikernels(_ context.Context, id accounts.Identity) (found []services.InstanceUnikernels, failed []services.InstanceError, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return nil, nil, w.failure
	}
	for name, h := range w.instances {
		if !h.online {
			failed = append(failed, services.InstanceError{Instance: name, Text: "connection refused"})
			continue
		}
		of := services.InstanceUnikernels{Instance: name}
		for key, u := range w.unikernels {
			if strings.HasPrefix(key, name+"/"+id.Namespace+":") {
				of.Unikernels = append(of.Unikernels, u)
			}
		}
		slices.SortFunc(of.Unikernels, func(a, b albatross.Unikernel) int { return cmp.Compare(a.Name.Label, b.Name.Label) })
		found = append(found, of)
	}
	return found, failed, nil
}

func (w *world) Upload(_ context.Context, id accounts.Identity, content io.Reader, limit int64) (string, int64, error) {
	image, err := io.ReadAll(io.LimitReader(content, limit+1))
	switch {
	case err != nil:
		return "", 0, err
	case int64(len(image)) > limit:
		return "", 0, &services.Invalid{Field: "image", Message: "too large"}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := sha256.Sum256(image)
	digest := hex.EncodeToString(sum[:])
	w.images[id.Namespace+"/"+digest] = image
	return digest, int64(len(image)), nil
}

// maxMemory and maxBlock are the bounds of everybody's policy.
const (
	maxMemory = 2048
	maxBlock  = 2048
)

func (w *world) CreateUnikernel(_ context.Context, id accounts.Identity, r services.CreateRequest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, r.Instance, r.Name)
	if err != nil {
		return err
	}
	image, uploaded := w.images[id.Namespace+"/"+r.Digest]
	_, runs := w.unikernels[key]
	switch {
	case w.owned[key] != "":
		return &services.Conflict{Owners: []string{w.owned[key]}, Fields: []string{"spec.image"}}
	case runs && !r.Force:
		return &services.Refused{Text: "Unikernel with same name is already running"}
	case r.Digest != "" && !uploaded:
		return &services.Refused{Text: "not uploaded for this namespace"}
	case r.Digest != "" && len(image) == 0:
		return &services.Refused{Text: "error during ELF parsing"}
	case r.Spec.MemoryMiB() < 1:
		return &services.Invalid{Field: "spec.memory", Message: "must be between 1Mi and 1Ti"}
	case r.Spec.MemoryMiB() > maxMemory:
		used := int64(0)
		for _, u := range w.unikernels {
			used += u.Info.Memory
		}
		return &services.Refused{Text: fmt.Sprintf("maximum allowed memory (%d, used %d) would be exceeded (requesting %d)", maxMemory, used, r.Spec.MemoryMiB())}
	case slices.ContainsFunc(r.Spec.CPUIDs, func(id v1alpha1.CPUID) bool { return id > 1 }):
		return &services.Refused{Text: "CPUids 9 are not allowed by policy"}
	}
	for _, b := range r.Spec.BlockDevices {
		if _, known := w.volumes[r.Instance+"/"+id.Namespace+":"+b.HostDevice]; !known {
			return &services.Refused{Text: fmt.Sprintf("block device %s:%s not found", id.Namespace, b.HostDevice)}
		}
	}
	w.created = append(w.created, r)
	w.unikernels[key] = running(id, r)
	return nil
}

func running(id accounts.Identity, r services.CreateRequest) albatross.Unikernel {
	u := albatross.Unikernel{Name: albatross.Name{Path: albatross.Path{id.Namespace}, Label: r.Name}}
	u.Info.Memory, u.Info.NumCPUs, u.Info.Argv = r.Spec.MemoryMiB(), 1, r.Spec.Arguments
	for _, id := range r.Spec.CPUIDs {
		u.Info.CPUIDs = append(u.Info.CPUIDs, int64(id))
	}
	if p := r.Spec.RestartPolicy; p != nil && p.Type == "OnFailure" {
		u.Info.FailBehaviour.Restart = true
		for _, code := range p.ExitCodes {
			u.Info.FailBehaviour.ExitCodes = append(u.Info.FailBehaviour.ExitCodes, int64(code))
		}
	}
	for _, n := range r.Spec.NetworkInterfaces {
		u.Info.Bridges = append(u.Info.Bridges, albatross.BridgeInfo{Device: n.Name, HostDevice: cmp.Or(string(n.Bridge), n.Name)})
	}
	for _, b := range r.Spec.BlockDevices {
		u.Info.Blocks = append(u.Info.Blocks, albatross.BlockInfo{Device: b.Name, HostDevice: b.HostDevice, SectorSize: 512, Size: 1})
	}
	return u
}

func (w *world) DestroyUnikernel(_ context.Context, id accounts.Identity, instance, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, instance, name)
	if err != nil {
		return err
	}
	if _, runs := w.unikernels[key]; !runs {
		return &services.Refused{Text: "destroy: not found"}
	}
	delete(w.unikernels, key)
	return nil
}

func (w *world) RestartUnikernel(_ context.Context, id accounts.Identity, r services.RestartRequest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, r.Instance, r.Name)
	if err != nil {
		return err
	}
	if _, runs := w.unikernels[key]; !runs {
		return &services.Refused{Text: "destroy: not found"}
	}
	w.restart = append(w.restart, r)
	return nil
}

func (w *world) Console(ctx context.Context, id accounts.Identity, instance, name string) (iter.Seq2[services.Line, error], error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, instance, name)
	if err != nil {
		return nil, err
	}
	if _, runs := w.unikernels[key]; !runs {
		return nil, &services.NotFound{What: "unikernel", Name: name}
	}
	past := slices.Clone(w.lines)
	w.viewers.Add(1)
	return func(yield func(services.Line, error) bool) {
		defer w.viewers.Done()
		for _, line := range past {
			if !yield(line, nil) {
				return
			}
		}
		for {
			select {
			case line, more := <-w.live:
				if !more {
					yield(services.Line{}, errors.New("the console ended"))
					return
				}
				if !yield(line, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

func (w *world) Volumes(_ context.Context, id accounts.Identity) (all []services.Volume, failed []services.InstanceError, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, h := range w.instances {
		if !h.online {
			failed = append(failed, services.InstanceError{Instance: name, Text: "connection refused"})
			continue
		}
		for key, v := range w.volumes {
			if label, mine := strings.CutPrefix(key, name+"/"+id.Namespace+":"); mine {
				all = append(all, services.Volume{Instance: name, Name: label, Size: v.size, Used: v.used})
			}
		}
	}
	return all, failed, w.failure
}

func (w *world) CreateVolume(ctx context.Context, id accounts.Identity, r services.VolumeRequest) error {
	w.mu.Lock()
	key, err := w.at(id, r.Instance, r.Name)
	if err == nil {
		_, known := w.volumes[key]
		switch {
		case known:
			err = &services.Refused{Text: "block device with same name already exists"}
		case r.Size < 1:
			err = &services.Invalid{Field: "spec.size", Message: "must be between 1Mi and 16Ti"}
		case r.Size > maxBlock:
			err = &services.Refused{Text: fmt.Sprintf("block device policy limit of %d MB (used 0 MB) would be exceeded by the request (%d MB)", maxBlock, r.Size)}
		default:
			w.volumes[key] = &volume{size: r.Size}
		}
	}
	w.mu.Unlock()
	if err != nil || r.Data == nil {
		return err
	}
	if err := w.UploadVolume(ctx, id, r); err != nil {
		w.mu.Lock()
		delete(w.volumes, key)
		w.mu.Unlock()
		return err
	}
	return nil
}

func (w *world) UploadVolume(_ context.Context, id accounts.Identity, r services.VolumeRequest) error {
	w.mu.Lock()
	key, err := w.at(id, r.Instance, r.Name)
	v, known := w.volumes[key]
	w.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !known:
		return &services.Refused{Text: "set block: not found"}
	case v.used:
		return &services.Refused{Text: "set block: is in use"}
	}
	from := r.Data
	if r.Compressed {
		z, err := zlib.NewReader(from)
		if err != nil {
			return &services.Invalid{Field: "data", Message: "not a zlib stream"}
		}
		from = z
	}
	content, err := io.ReadAll(io.LimitReader(from, v.size<<20+1))
	switch {
	case err != nil:
		return err
	case int64(len(content)) > v.size<<20:
		return &services.Refused{Text: "stream exceeds size"}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	v.content = content
	return nil
}

func (w *world) DeleteVolume(_ context.Context, id accounts.Identity, instance, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, instance, name)
	v, known := w.volumes[key]
	switch {
	case err != nil:
		return err
	case !known:
		return &services.Refused{Text: "remove block: not found"}
	case v.used:
		return &services.Refused{Text: "remove block: is in use"}
	}
	delete(w.volumes, key)
	return nil
}

func (w *world) DownloadVolume(_ context.Context, id accounts.Identity, instance, name string, level int) (io.ReadCloser, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, instance, name)
	v, known := w.volumes[key]
	switch {
	case err != nil:
		return nil, err
	case !known:
		return nil, &services.Refused{Text: "dump block: not found"}
	case v.used:
		return nil, &services.Refused{Text: "dump block: is in use"}
	}
	if string(v.content) == "cut" {
		return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), cutReader{})), nil
	}
	content := make([]byte, v.size<<20)
	copy(content, v.content)
	if level == 0 {
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	var compressed bytes.Buffer
	z, err := zlib.NewWriterLevel(&compressed, level)
	if err != nil {
		return nil, err
	}
	_, err = z.Write(content)
	return io.NopCloser(&compressed), errors.Join(err, z.Close())
}

// cutReader is a host that goes away in the middle.
type cutReader struct{}

func (cutReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func (w *world) Instances(context.Context, accounts.Identity) (all []services.Instance, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, h := range w.instances {
		i := services.Instance{Name: name, Host: "192.0.2.1", Port: 1025, Online: h.online}
		if !h.online {
			i.Problem = "connection refused"
		}
		all = append(all, i)
	}
	return all, w.failure
}

func (w *world) RetryInstance(_ context.Context, id accounts.Identity, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.at(id, name, "")
	return err
}

func (w *world) CreateInstance(_ context.Context, _ accounts.Identity, r services.InstanceRequest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return w.failure
	}
	if _, known := w.instances[r.Name]; known {
		return &services.Conflict{Text: "it exists"}
	}
	w.instances[r.Name] = &host{online: true}
	w.settled = append(w.settled, r)
	return nil
}

func (w *world) UpdateInstance(_ context.Context, id accounts.Identity, r services.InstanceRequest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.at(id, r.Name, ""); err != nil {
		return err
	}
	w.settled = append(w.settled, r)
	return nil
}

func (w *world) DeleteInstance(_ context.Context, id accounts.Identity, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.at(id, name, ""); err != nil {
		return err
	}
	delete(w.instances, name)
	return nil
}

func (w *world) Policies(_ context.Context, id accounts.Identity) (all []services.Policy, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.policy {
		if id.SuperUser || p.Namespace == id.Namespace {
			all = append(all, p)
		}
	}
	return all, w.failure
}

func (w *world) SetPolicy(_ context.Context, id accounts.Identity, p services.Policy) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.at(id, p.Instance, ""); err != nil {
		return err
	}
	if i := slices.IndexFunc(p.CPUIDs, func(id int64) bool { return id > 1 }); i >= 0 {
		return &services.Refused{Reason: v1alpha1.ReasonPolicyRefused, Text: fmt.Sprintf("policy above does not allow CPUids %d", p.CPUIDs[i])}
	}
	for _, bridge := range p.Bridges {
		if bridge != "service" {
			return &services.Refused{Reason: v1alpha1.ReasonPolicyRefused, Text: "policy above allows bridge(s) service, which is not a superset of " + bridge}
		}
	}
	w.policy = append(w.policy, p)
	return nil
}

func (w *world) UpdateUnikernel(_ context.Context, id accounts.Identity, r services.UpdateRequest) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, r.Instance, r.Name)
	if err != nil {
		return err
	}
	if _, runs := w.unikernels[key]; !runs {
		return &services.NotFound{What: "unikernel", Name: r.Name}
	}
	w.updated = append(w.updated, r)
	return nil
}

func (w *world) RollbackUnikernel(_ context.Context, id accounts.Identity, instance, name string) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key, err := w.at(id, instance, name)
	if err != nil {
		return "", err
	}
	if _, runs := w.unikernels[key]; !runs {
		return "", &services.NotFound{What: "unikernel", Name: name}
	}
	return "11111111-1111-4111-8111-111111111111", nil
}

// clock is when everything on consoles was printed.
var clock = time.Date(2025, 12, 8, 17, 45, 30, 0, time.UTC)
