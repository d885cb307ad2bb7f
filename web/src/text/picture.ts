// A picture as the server takes it: JPEG, PNG or WebP, at most 1,536 pixels a side (Gemma 3 sees 896). A picture is drawn anew,
// so that what a camera wrote into it (where it was taken, too) is not sent.
import type {Picture} from '../state/conversation';

export const kPictureTypes = ['image/jpeg', 'image/png', 'image/webp'];
const kLongestSide = 1536;

export async function pictureOf(file: Blob): Promise<Picture> {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, kLongestSide / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext('2d')!.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const type = file.type === 'image/jpeg' ? 'image/jpeg' : 'image/png';
  return {type, base64: canvas.toDataURL(type, 0.92).split(',')[1]};
}
