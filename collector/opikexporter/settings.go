package opikexporter

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// refuseMisfits finds, in a section of the settings and those within it, what would be taken for something else without a word: a key that no field
// has, a setting that is given nothing, and a part of a thing where things are counted.
func refuseMisfits(section string, given map[string]any, of reflect.Type) error {
	fields := fieldsOf(of)
	for _, key := range slices.Sorted(maps.Keys(given)) {
		name, value := section+key, given[key]
		field, known := fields[key]
		if !known {
			names := slices.Sorted(maps.Keys(fields))
			return fmt.Errorf("there is no setting %q; did you mean %q? There are %s", name, section+nearest(key, names), strings.Join(names, ", "))
		}
		if within, isGroup := value.(map[string]any); isGroup && isSection(field) {
			if err := refuseMisfits(name+"::", within, field); err != nil {
				return err
			}
		}
		if value == nil && needsValue(field) {
			return fmt.Errorf("%s is given nothing: write a value, or leave it out. If it is from the environment, that variable is not set", name)
		}
		if number, isFloat := value.(float64); isFloat && isCounted(field) && number != math.Trunc(number) {
			return fmt.Errorf("%s is %v: write a whole number", name, number)
		}
	}
	return nil
}

// fieldsOf are a section's settings by name, those of squashed structs too.
func fieldsOf(section reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	if held, isOptional := heldBy(section); isOptional {
		fields["enabled"] = reflect.TypeFor[bool]()
		section = held
	}
	for index := range section.NumField() {
		field := section.Field(index)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case strings.Contains(options, "squash"):
			maps.Copy(fields, fieldsOf(field.Type))
		case name != "":
			fields[name] = field.Type
		}
	}
	return fields
}

// heldBy a configoptional.Optional is the section that may be there.
func heldBy(field reflect.Type) (section reflect.Type, isOptional bool) {
	get, found := reflect.PointerTo(field).MethodByName("Get")
	if !found || !strings.HasPrefix(field.Name(), "Optional[") {
		return nil, false
	}
	return get.Type.Out(0).Elem(), true
}

// isSection says whether a field has settings of its own, and is not written as one text.
func isSection(field reflect.Type) bool {
	return field.Kind() == reflect.Struct && !reflect.PointerTo(field).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// needsValue says whether nothing would be something else than the default: false, 0, or no storage. A text may be empty.
func needsValue(field reflect.Type) bool {
	switch field.Kind() {
	case reflect.String, reflect.Map, reflect.Slice:
		return false
	}
	return !isSection(field)
}

// isCounted says whether a field is a number of things. (A time that is too short says so itself.)
func isCounted(field reflect.Type) bool {
	return reflect.Zero(field).CanInt() && field != reflect.TypeFor[time.Duration]()
}

// nearest is the name that the fewest changes of a letter lead to.
func nearest(key string, names []string) string {
	return slices.MinFunc(names, func(one, other string) int { return distance(key, one) - distance(key, other) })
}

// distance is how many letters have to be put in, left out or changed (Levenshtein).
func distance(one, other string) int {
	row := make([]int, len(other)+1)
	for column := range row {
		row[column] = column
	}
	for line := range len(one) {
		before := row[0]
		row[0] = line + 1
		for column := range len(other) {
			change := before
			if one[line] != other[column] {
				change++
			}
			before = row[column+1]
			row[column+1] = min(change, row[column]+1, row[column+1]+1)
		}
	}
	return row[len(other)]
}
