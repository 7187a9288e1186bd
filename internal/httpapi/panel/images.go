package panel

import (
	"slices"
	"strings"

	"mollymawk.dev/operator/api/v1alpha1"
)

func (c *call) listImages() reply {
	all, err := c.options().Images.CatalogImages(c.ctx(), c.admin)
	if err != nil {
		return c.failed(err)
	}
	views := make([]imageView, 0, len(all))
	for i := range all {
		views = append(views, showImage(&all[i]))
	}
	return ok(views)
}

func showImage(entry *v1alpha1.UnikernelImage) imageView {
	view := imageView{
		ID: string(entry.UID), Name: entry.Name, Image: entry.Name, AltImages: []string{}, Cmd: strings.Join(entry.Spec.Arguments, " "), Env: []string{},
		Variables: map[string]variableView{}, Description: entry.Spec.Description,
	}
	for _, v := range entry.Spec.Variables {
		view.Variables[v.Name] = variableView{Type: "text", Default: v.Default, Required: v.Required, Description: v.Description}
	}
	return view
}

// findImage finds the entry that is meant: by its name, its id, or where its image
// comes from. Of several with the same image the one of that name is meant, or else
// the first.
func findImage(all []v1alpha1.UnikernelImage, image, name string) *v1alpha1.UnikernelImage {
	by := func(is func(*v1alpha1.UnikernelImage) bool) *v1alpha1.UnikernelImage {
		i := slices.IndexFunc(all, func(entry v1alpha1.UnikernelImage) bool { return is(&entry) })
		if i < 0 {
			return nil
		}
		return &all[i]
	}
	from := func(entry *v1alpha1.UnikernelImage) bool {
		return sourceOf(&v1alpha1.ImageSource{ContentSource: entry.Spec.Image.ContentSource}) == image
	}
	for _, is := range []func(*v1alpha1.UnikernelImage) bool{
		func(entry *v1alpha1.UnikernelImage) bool { return entry.Name == image },
		func(entry *v1alpha1.UnikernelImage) bool { return string(entry.UID) == image },
		func(entry *v1alpha1.UnikernelImage) bool { return entry.Name == name && from(entry) },
		from,
	} {
		if found := by(is); found != nil {
			return found
		}
	}
	return nil
}
