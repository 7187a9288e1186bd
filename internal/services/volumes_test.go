package services_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"mollymawk.dev/operator/albatross"
	"mollymawk.dev/operator/albatross/albatrosstest"
	"mollymawk.dev/operator/albatross/solo5"
	"mollymawk.dev/operator/api/v1alpha1"
	"mollymawk.dev/operator/internal/services"
)

const mib = 1 << 20

func randomBytes(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	data := make([]byte, n)
	_, _ = source.Read(data)
	return data
}

func compressed(data []byte) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

func (w *world) volume(name string) *v1alpha1.Volume {
	w.Helper()
	volume := &v1alpha1.Volume{}
	if err := w.Get(w.Context(), client.ObjectKey{Namespace: w.user.Namespace, Name: name}, volume); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil
		}
		w.Fatal(err)
	}
	return volume
}

func (w *world) download(name string, level int) []byte {
	w.Helper()
	r, err := w.DownloadVolume(w.Context(), w.user, w.instance, name, level)
	if err != nil {
		w.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		w.Fatal(err)
	}
	return data
}

func TestVolumeLife(t *testing.T) {
	w := newWorld(t)
	data := randomBytes(mib + 12345)
	request := services.VolumeRequest{Instance: w.instance, Name: "data", Size: 4, Data: bytes.NewReader(data), DataSize: int64(len(data))}
	if err := w.CreateVolume(t.Context(), w.user, request); err != nil {
		t.Fatal(err)
	}
	if w.volume("data") == nil {
		t.Error("no object")
	}
	list, _, err := w.Volumes(t.Context(), w.user)
	if err != nil || len(list) != 1 || list[0] != (services.Volume{Instance: w.instance, Name: "data", Size: 4}) {
		t.Errorf("listed %v, %v", list, err)
	}
	if got := w.download("data", 0); len(got) != 4*mib || !bytes.HasPrefix(got, data) {
		t.Errorf("got %d bytes", len(got))
	}
	z, err := zlib.NewReader(bytes.NewReader(w.download("data", 6)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(z); err != nil || len(got) != 4*mib || !bytes.HasPrefix(got, data) {
		t.Errorf("got %d bytes compressed, %v", len(got), err)
	}
	if err := w.CreateVolume(t.Context(), w.user, request); err == nil || err.Error() != "block device with same name already exists" {
		t.Errorf("created twice: %v", err)
	}
	other := randomBytes(3 * mib)
	upload := services.VolumeRequest{Instance: w.instance, Name: "data", Data: bytes.NewReader(compressed(other)), Compressed: true}
	if err := w.UploadVolume(t.Context(), w.user, upload); err != nil {
		t.Fatal(err)
	}
	if got := w.download("data", 0); !bytes.HasPrefix(got, other) {
		t.Error("not overwritten")
	}
	if err := w.DeleteVolume(t.Context(), w.user, w.instance, "data"); err != nil {
		t.Fatal(err)
	}
	if blocks := w.host.Blocks(w.user.Namespace); len(blocks) != 0 || w.volume("data") != nil {
		t.Errorf("left: %v", blocks)
	}
	if err := w.DeleteVolume(t.Context(), w.user, w.instance, "data"); err == nil || err.Error() != "remove block: not found" {
		t.Errorf("deleted twice: %v", err)
	}
	if n := w.Transfers(); n != 0 {
		t.Errorf("%d transfers are counted", n)
	}
}

func TestRefusedVolumeLeavesNothing(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name    string
		request services.VolumeRequest
		is      func(error) bool
		sent    bool
	}{
		{"no size", services.VolumeRequest{}, is[*services.Invalid], false},
		{"policy", services.VolumeRequest{Size: 101}, is[*services.Refused], false},
		{"known to be large", services.VolumeRequest{Size: 1, Data: bytes.NewReader(randomBytes(mib + 1)), DataSize: mib + 1}, is[*services.Invalid], false},
		{"found to be large", services.VolumeRequest{Size: 1, Data: bytes.NewReader(randomBytes(mib + 1))}, is[*services.Invalid], true},
		{"large when expanded", services.VolumeRequest{Size: 1, Data: bytes.NewReader(compressed(make([]byte, 2*mib))), Compressed: true}, is[*services.Invalid], true},
		{"no zlib", services.VolumeRequest{Size: 1, Data: strings.NewReader("text"), Compressed: true}, is[*services.Invalid], false},
		{"a broken reader", services.VolumeRequest{Size: 1, Data: io.MultiReader(strings.NewReader("x"), broken{})}, func(err error) bool { return errors.Is(err, errBroken) }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := w.host.Received("block set", "")
			test.request.Instance, test.request.Name = w.instance, "data"
			if err := w.CreateVolume(t.Context(), w.user, test.request); !test.is(err) {
				t.Errorf("%T: %v", err, err)
			}
			if sent := w.host.Received("block set", "") > before; sent != test.sent {
				t.Errorf("data was sent to the host: %v", sent)
			}
			if blocks := w.host.Blocks(w.user.Namespace); len(blocks) != 0 || w.volume("data") != nil {
				t.Errorf("left: %v, %v", blocks, w.volume("data"))
			}
		})
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestVolumesInUse(t *testing.T) {
	w := newWorld(t)
	if err := w.CreateVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "data", Size: 1}); err != nil {
		t.Fatal(err)
	}
	request := services.CreateRequest{Instance: w.instance, Name: "web", Spec: v1alpha1.UnikernelSpec{
		Image:        w.web.Image(t, solo5.Image{Target: solo5.HVT, ABIVersion: 2, Devices: []solo5.Device{{Name: "storage", Type: solo5.Block}}}, "blk"),
		BlockDevices: []v1alpha1.BlockDevice{{Name: "storage", VolumeRef: &v1alpha1.VolumeReference{Name: "data"}}},
	}}
	if err := w.CreateUnikernel(t.Context(), w.user, request); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"set block: is in use":    w.UploadVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "data", Data: strings.NewReader("x")}),
		"remove block: is in use": w.DeleteVolume(t.Context(), w.user, w.instance, "data"),
		"dump block: is in use":   second(w.DownloadVolume(t.Context(), w.user, w.instance, "data", 0)),
	} {
		if refused, ok := errors.AsType[*services.Refused](err); !ok || refused.Text != what {
			t.Errorf("%s: %v", what, err)
		}
	}
	if volume := w.volume("data"); volume == nil || !volume.DeletionTimestamp.IsZero() {
		t.Errorf("the object: %v", volume)
	}
	for what, err := range map[string]error{
		"set block: not found":  w.UploadVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "none", Data: strings.NewReader("x")}),
		"dump block: not found": second(w.DownloadVolume(t.Context(), w.user, w.instance, "none", 0)),
	} {
		if refused, ok := errors.AsType[*services.Refused](err); !ok || refused.Text != what {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := w.Transfers(); n != 0 {
		t.Errorf("%d transfers are counted", n)
	}
}

// TestVolumeWithoutObject has a block device that nobody declared, and one whose
// object leaves it.
func TestVolumeWithoutObject(t *testing.T) {
	w := newWorld(t)
	host, err := w.pool.Get(w.instance)
	if err != nil {
		t.Fatal(err)
	}
	scope, _ := host.Snapshot().Scope(albatross.Path{w.user.Namespace})
	if _, err := host.Client().AddBlock(t.Context(), scope, "old", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.UploadVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "old", Data: strings.NewReader("hello")}); err != nil {
		t.Errorf("upload: %v", err)
	}
	if got := w.download("old", 0); !bytes.HasPrefix(got, []byte("hello")) {
		t.Errorf("got %q", got[:5])
	}
	// It is not taken over by a create of the same name and size.
	if err := w.CreateVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "old", Size: 1}); !is[*services.Refused](err) {
		t.Errorf("create: %v", err)
	}
	if err := w.DeleteVolume(t.Context(), w.user, w.instance, "old"); err != nil {
		t.Errorf("delete: %v", err)
	}
	orphan := &v1alpha1.Volume{ObjectMeta: metav1.ObjectMeta{Namespace: w.user.Namespace, Name: "orphan"}, Spec: v1alpha1.VolumeSpec{
		InstanceRef: v1alpha1.InstanceReference{Name: w.instance}, Size: v1alpha1.FromMiB(1), DeletionPolicy: v1alpha1.DeletionPolicyOrphan,
	}}
	w.mustCreate(orphan)
	eventually(t, "it is there", func() bool { list, _, _ := w.Volumes(t.Context(), w.user); return len(list) == 1 })
	if err := w.DeleteVolume(t.Context(), w.user, w.instance, "orphan"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if blocks := w.host.Blocks(w.user.Namespace); len(blocks) != 0 {
		t.Errorf("left: %v", blocks)
	}
}

// TestTransfersEnd has callers who go away, hosts that break off, and too many.
func TestTransfersEnd(t *testing.T) {
	w := newWorld(t, func(o *services.Options) { o.MaxTransfers = 1 })
	if err := w.CreateVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "data", Size: 32}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reader := &endless{ctx: ctx}
	done := make(chan error, 1)
	go func() {
		done <- w.UploadVolume(ctx, w.user, services.VolumeRequest{Instance: w.instance, Name: "data", Data: reader})
	}()
	eventually(t, "data flows", func() bool { return reader.given.Load() > mib })
	busy, stop := context.WithCancel(t.Context())
	stop()
	if _, err := w.DownloadVolume(busy, w.user, w.instance, "data", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("beside another: %v", err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("uploaded though the caller went away")
	}
	if got := w.download("data", 9); len(got) == 0 {
		t.Error("nothing")
	}

	ctx, cancel = context.WithCancel(t.Context())
	r, err := w.DownloadVolume(ctx, w.user, w.instance, "data", 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); err == nil {
		t.Error("downloaded to the end though the caller went away")
	}
	r.Close()

	lift := w.host.Inject(albatrosstest.Fault{Kind: albatrosstest.CutReply, Command: "block dump", Bytes: mib})
	r, err = w.DownloadVolume(t.Context(), w.user, w.instance, "data", 0)
	if err == nil {
		if _, err = io.Copy(io.Discard, r); err == nil {
			t.Error("a cut looks like the end")
		}
		r.Close()
	}
	lift()
	if n := w.Transfers(); n != 0 {
		t.Errorf("%d transfers are counted", n)
	}
}

// endless gives a little more until its context ends, as a slow caller does.
type endless struct {
	ctx   context.Context
	given atomic.Int64
}

func (r *endless) Read(p []byte) (int, error) {
	if r.given.Load() > 2*mib {
		<-r.ctx.Done()
		return 0, r.ctx.Err()
	}
	r.given.Add(int64(len(p)))
	return len(p), nil
}

// TestTransfersNeedLittleMemory moves more than is allowed to stay.
func TestTransfersNeedLittleMemory(t *testing.T) {
	w := newWorld(t)
	const size = 96
	if err := w.CreateVolume(t.Context(), w.user, services.VolumeRequest{Instance: w.instance, Name: "data", Size: size}); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	upload := services.VolumeRequest{Instance: w.instance, Name: "data", Data: io.LimitReader(rand.NewChaCha8([32]byte{}), size*mib), DataSize: size * mib}
	if err := w.UploadVolume(t.Context(), w.user, upload); err != nil {
		t.Fatal(err)
	}
	r, err := w.DownloadVolume(t.Context(), w.user, w.instance, "data", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n != size*mib {
		t.Errorf("%d bytes, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if more := int64(after.HeapSys) - int64(before.HeapSys); more > 64*mib {
		t.Errorf("the heap grew by %d MiB", more/mib)
	}
}
