package mollymawk

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"slices"

	"mollymawk.dev/operator/internal/httpapi"
	"mollymawk.dev/operator/internal/services"
)

const (
	textBlockName = "Couldn't find block name in json"
	textLevel     = "compression_level must be between 0 and 9"
	maxLevel      = 9
)

// volumeView is a volume as the list shows it.
type volumeView struct {
	Instance string `json:"instance"`
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	Used     bool   `json:"used"`
}

func (c *call) listVolumes() reply {
	if c.id.Namespace == "" {
		return ok(listing{[]volumeView{}, []instanceError{}})
	}
	found, failed, err := c.options().Volumes.Volumes(c.ctx(), c.id)
	if err != nil {
		return c.failed(texts{}, err)
	}
	views := make([]volumeView, 0, len(found))
	for _, v := range found {
		views = append(views, volumeView{v.Instance, v.Name, v.Size, v.Used})
	}
	slices.SortFunc(views, func(a, b volumeView) int { return compare(a.Instance+":"+a.Name, b.Instance+":"+b.Name) })
	return ok(listing{views, showErrors(failed)})
}

// createVolume makes a volume and, if there are data, fills it.
func (c *call) createVolume() reply { return c.fillVolume(true) }

// uploadVolume fills a volume that is there.
func (c *call) uploadVolume() reply { return c.fillVolume(false) }

var volumeFields = []string{"albatross_instance", "json_data", csrfField}

// fillVolume streams the data to the host when they come last. When they come
// before it is known what they are for, they wait on disk.
func (c *call) fillVolume(create bool) reply {
	f, refusal, fine := c.openForm("block_data")
	if !fine {
		return refusal
	}
	file, err := f.next()
	switch {
	case errors.Is(err, io.EOF):
		return bad(textMissing)
	case err != nil:
		return c.unreadableForm(err)
	}
	nothing, err := file.isNothing()
	if err != nil {
		return c.unreadableForm(err)
	}
	from := &sensitive{from: &bounded{file, c.options().Limits.Volume}}
	var data io.Reader = from
	if nothing {
		data = nil
	}
	var size int64
	if !f.has(volumeFields...) {
		early, refusal, fine := c.setAside(data, from)
		if !fine {
			return refusal
		}
		defer early.Close()
		data, size = early.reader(), early.size
		if err := f.finish(); err != nil {
			return c.unreadableForm(err)
		}
	}
	request, refusal, fine := c.volume(f)
	if !fine {
		return refusal
	}
	request.Data, request.DataSize = data, size
	if err := c.sendVolume(create, request); from.err != nil {
		return c.unreadableForm(from.err)
	} else if err != nil {
		return c.failed(volumeTexts, err)
	}
	return ok("set block device")
}

func (c *call) sendVolume(create bool, request services.VolumeRequest) error {
	if create {
		return c.options().Volumes.CreateVolume(c.ctx(), c.id, request)
	}
	return c.options().Volumes.UploadVolume(c.ctx(), c.id, request)
}

// volume checks the fields in the original's order.
func (c *call) volume(f *form) (request services.VolumeRequest, refusal reply, fine bool) {
	if !f.has(volumeFields...) {
		return request, bad(textMissing), false
	}
	request.Instance, refusal, fine = volumeTexts.instanceName(f.fields["albatross_instance"])
	if !fine {
		return request, refusal, false
	}
	value, err := parse([]byte(f.fields["json_data"]))
	document, isObject := value.(*object)
	if err != nil || !isObject {
		return request, bad("expected a dictionary"), false
	}
	name, named := document.text("block_name")
	size, sized := document.integer("block_size")
	compressed, told := document.boolean("block_compressed")
	if !named || !sized || !told {
		return request, bad("unexpected field. got " + echo(document)), false
	}
	request.Size, request.Compressed = size, compressed
	if request.Name, refusal, fine = volumeTexts.objectName(name); !fine {
		return request, refusal, false
	}
	c.about(request.Instance + "/" + request.Name)
	refusal, refused := c.checkCSRF(f.fields[csrfField], true)
	return request, refusal, !refused
}

// block reads which volume a JSON call is about.
func (c *call) block(t texts) (instance, name, given string, refusal reply, fine bool) {
	given, named := c.document.text("block_name")
	instance, placed := c.document.text("albatross_instance")
	if !named || !placed {
		return "", "", "", bad(textBlockName), false
	}
	instance, name, refusal, fine = t.names(instance, given)
	if fine {
		c.about(instance + "/" + name)
	}
	return instance, name, given, refusal, fine
}

func (c *call) deleteVolume() reply {
	instance, name, _, refusal, fine := c.block(volumeDeleteTexts)
	if !fine {
		return refusal
	}
	if err := c.options().Volumes.DeleteVolume(c.ctx(), c.id, instance, name); err != nil {
		return c.failed(volumeDeleteTexts, err)
	}
	return ok("removed block")
}

// downloadVolume begins to answer when the host has begun to send. What goes
// wrong after that cuts the connection, so that nobody takes a part for the whole.
func (c *call) downloadVolume() reply {
	level, leveled := c.document.integer("compression_level")
	if !leveled {
		return bad(textBlockName)
	}
	instance, name, given, refusal, fine := c.block(downloadTexts)
	if !fine {
		return refusal
	}
	if level < 0 || level > maxLevel {
		return bad(textLevel)
	}
	data, err := c.options().Volumes.DownloadVolume(c.ctx(), c.id, instance, name, int(level))
	if err != nil {
		return c.failed(downloadTexts, err)
	}
	defer data.Close()
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+given+`_dump"`)
	c.w.WriteHeader(http.StatusOK)
	// A host sends 4 KiB at a time, which would be as many small pieces here.
	gathered := bufio.NewWriterSize(onlyWriter{c.w}, copied)
	_, err = gathered.ReadFrom(data)
	if err == nil {
		err = gathered.Flush()
	}
	if err != nil {
		c.options().Log.Info("A download ended early", "object", instance+"/"+name, "problem", httpapi.KindOf(err))
		panic(http.ErrAbortHandler)
	}
	return answered
}

// copied is how much of a download is sent at a time.
const copied = 64 << 10

// onlyWriter has bufio use its buffer.
type onlyWriter struct{ io.Writer }

// bounded fails after a number of bytes, where io.LimitReader would end well.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.from.Read(p[:min(int64(len(p)), b.left+1)])
	if b.left -= int64(n); b.left < 0 {
		return n, errTooLong
	}
	return n, err
}
