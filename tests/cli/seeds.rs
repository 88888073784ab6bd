//! Small files of many kinds, as seeds of mutations.

use std::path::Path;

use crate::mutate::Seed;
use crate::sandbox::manual;
use crate::support::pdf::{self, PLAIN, Pdf, text_content};

/// PDF files made here, a protected one, a sample manual, and pictures.
pub(crate) fn all() -> Vec<Seed> {
    let made = [
        ("good", pdf::good(&["first page", "second page"])),
        ("labelled", pdf::labelled()),
        ("sideways", pdf::sideways()),
        ("rotated", pdf::rotated()),
        ("cyclic", pdf::cyclic_tree()),
        ("null-kid", pdf::null_kid()),
        ("deep", pdf::deep_tree(6)),
        ("sized", pdf::sized(300, 400)),
        ("broken-stream", pdf::broken_stream()),
        ("forms", pdf::form_bomb(2)),
        ("strokes", pdf::strokes(20)),
        ("fields", fields()),
        ("annotations", annotations()),
        ("images", images()),
    ];
    let made = made.map(|(name, bytes)| Seed {
        name: format!("{name}.pdf"),
        bytes,
    });
    let mut seeds = Vec::from(made);
    seeds.push(read(Path::new(&golden("pdf/locked.pdf"))));
    seeds.push(read(Path::new(&manual("heat-pump-service-manual.pdf"))));
    let pictures = std::fs::read_dir(golden("pictures")).unwrap();
    let mut pictures: Vec<_> = pictures.map(|entry| entry.unwrap().path()).collect();
    pictures.sort();
    seeds.extend(pictures.iter().map(|path| read(path)));
    seeds
}

fn golden(name: &str) -> String {
    manual(&format!("../tests/golden/{name}"))
}

fn read(path: &Path) -> Seed {
    Seed {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        bytes: std::fs::read(path).unwrap(),
    }
}

/// A file of one page; `entries` go into the page's dictionary, `catalog` into the catalogue.
fn one_page(pdf: &mut Pdf, entries: &str, content: &[u8], catalog: &str) -> Vec<u8> {
    let tree = pdf.add("");
    let page = pdf.page(tree, &format!("{PLAIN} {entries}"), content);
    pdf.set(
        tree,
        format!("<< /Type /Pages /Count 1 /Kids [{page} 0 R] >>"),
    );
    let root = pdf.add(format!("<< /Type /Catalog /Pages {tree} 0 R {catalog} >>"));
    pdf.finish(root)
}

/// Form fields with and without appearance streams, and an XFA form.
fn fields() -> Vec<u8> {
    let mut pdf = Pdf::new();
    let font = "/Font << /Helv << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>";
    let form = format!("/Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << {font} >>");
    let drawn = pdf.stream(&form, b"/Tx BMC BT /Helv 12 Tf 2 4 Td (72 Nm) Tj ET EMC");
    let on = pdf.stream(&form, b"0 0 m 20 20 l S");
    let field = "/Type /Annot /Subtype /Widget /F 4 /DA (/Helv 12 Tf 0 g) /MK << /BC [0 0 0] /BG [1 1 0] >>";
    let list = [
        format!("/FT /Tx /T (torque) /V (72 Nm) /Rect [72 600 272 620] /AP << /N {drawn} 0 R >>"),
        "/FT /Tx /T (bare) /V (serial 4711) /Rect [72 560 272 580] /Ff 4096 /MaxLen 40".into(),
        format!(
            "/FT /Btn /T (box) /V /On /AS /On /Rect [72 520 92 540] /AP << /N << /On {on} 0 R >> >>"
        ),
        "/FT /Ch /T (choice) /Ff 131072 /Opt [(one) (two)] /V (two) /I [1] /Rect [72 480 272 500]"
            .into(),
    ];
    let fields: String = list
        .iter()
        .map(|own| format!("{} 0 R ", pdf.add(format!("<< {field} {own} >>"))))
        .collect();
    let xfa = pdf.stream(
        "",
        b"<xdp:xdp xmlns:xdp=\"http://ns.adobe.com/xdp/\"></xdp:xdp>",
    );
    let catalog = format!(
        "/AcroForm << /Fields [{fields}] /NeedAppearances true /DA (/Helv 12 Tf 0 g) /DR << {font} >> /XFA {xfa} 0 R >>"
    );
    let entries = format!("/Annots [{fields}]");
    one_page(&mut pdf, &entries, &text_content("a form"), &catalog)
}

/// Comments, a stamp, a link, a layer that is switched off, an attached file, and a crop box.
fn annotations() -> Vec<u8> {
    let mut pdf = Pdf::new();
    let stamp = pdf.stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 100 30]",
        b"0 0 100 30 re f",
    );
    let list = [
        "/Subtype /FreeText /Contents (tighten first) /DA (/Helv 12 Tf 0 g) /Rect [72 500 272 530]"
            .to_owned(),
        "/Subtype /Text /Contents (see page 9) /Name /Note /Rect [300 500 320 520]".into(),
        format!("/Subtype /Stamp /Name /Draft /Rect [72 400 172 430] /AP << /N {stamp} 0 R >>"),
        "/Subtype /Link /A << /S /URI /URI (https://example.org) >> /Rect [72 300 172 320]".into(),
        "/Subtype /Highlight /QuadPoints [72 710 200 710 72 690 200 690] /C [1 1 0] /Rect [72 690 200 710]".into(),
    ];
    let annotations: String = list
        .iter()
        .map(|own| format!("{} 0 R ", pdf.add(format!("<< /Type /Annot {own} >>"))))
        .collect();
    let layer = pdf.add("<< /Type /OCG /Name (draft) >>");
    let attached = pdf.stream("/Type /EmbeddedFile", b"attached words");
    let catalog = format!(
        "/OCProperties << /OCGs [{layer} 0 R] /D << /OFF [{layer} 0 R] >> >> /Names << /EmbeddedFiles << /Names \
         [(a.txt) << /Type /Filespec /F (a.txt) /EF << /F {attached} 0 R >> >>] >> >>"
    );
    let entries = format!("/CropBox [50 200 562 780] /Annots [{annotations}]");
    let hidden = b" /OC /Draft BDC BT /F1 24 Tf 72 600 Td (not shown) Tj ET EMC";
    let content = [&text_content("comments")[..], hidden].concat();
    one_page(&mut pdf, &entries, &content, &catalog)
}

/// Pictures in a page: JPEG, Flate with a predictor, CCITT group 4, and an inline image.
fn images() -> Vec<u8> {
    let bytes = |name: &str| std::fs::read(golden(&format!("pictures/{name}"))).unwrap();
    let mut pdf = Pdf::new();
    let size = "/Type /XObject /Subtype /Image /Width 24 /Height 16";
    let rgb = format!("{size} /ColorSpace /DeviceRGB /BitsPerComponent 8");
    let jpeg = pdf.stream(&format!("{rgb} /Filter /DCTDecode"), &bytes("one.jpg"));
    let png = bytes("one.png");
    let at = png.windows(4).position(|w| w == b"IDAT").unwrap();
    let length = u32::from_be_bytes(png[at - 4..at].try_into().unwrap()) as usize;
    let flate = pdf.stream(
        &format!(
            "{rgb} /Filter /FlateDecode /DecodeParms << /Predictor 15 /Colors 3 /Columns 24 >>"
        ),
        &png[at + 4..at + 4 + length],
    );
    let fax = pdf.stream(
        &format!(
            "{size} /ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /CCITTFaxDecode \
             /DecodeParms << /K -1 /Columns 24 /Rows 16 >>"
        ),
        // The strip of the first page, behind the header.
        &bytes("two-fax.tif")[8..63],
    );
    let content = b"q 200 0 0 150 72 600 cm /J Do Q q 200 0 0 150 72 400 cm /P Do Q q 200 0 0 150 72 200 cm /F Do Q \
        q 50 0 0 50 400 600 cm BI /W 2 /H 2 /CS /G /BPC 8 ID \x00\xff\x80\x40 EI Q";
    let entries = format!(
        "/MediaBox [0 0 612 792] /Resources << /XObject << /J {jpeg} 0 R /P {flate} 0 R /F {fax} 0 R >> >>"
    );
    let tree = pdf.add("");
    let page = pdf.page(tree, &entries, content);
    pdf.set(
        tree,
        format!("<< /Type /Pages /Count 1 /Kids [{page} 0 R] >>"),
    );
    let root = pdf.add(format!("<< /Type /Catalog /Pages {tree} 0 R >>"));
    pdf.finish(root)
}
